package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A load is how clients behave.
type load struct {
	connections int
	reconnect   bool          // a connection for each request
	rate        int           // requests a second, whatever comes back; 0: each client asks again as soon as it has its answer
	time        time.Duration // how long
	begun       func()        // called after a tenth of that, when no request is out; from then on it counts
}

// An outcome is what they got.
type outcome struct {
	answered, failed int
	late             int // were due when every client still waited for an answer
	elapsed          time.Duration
	waits            []time.Duration // sorted
}

func (o outcome) p50() time.Duration { return o.waits[len(o.waits)/2] }

var (
	request = []byte("GET /some/page?of=the+app HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: measure/1.0\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate\r\nCookie: sessionid=0123456789abcdef0123456789abcdef\r\n\r\n")
	lastAnswer  = []byte("\r\nConnection: close\r\n") // as gunicorn and Apache write it
	lastRequest = bytes.Replace(request, headEnd, []byte("\r\nConnection: close\r\n\r\n"), 1)
)

// A crowd is clients on one thread.
type crowd struct {
	load
	target  unix.Sockaddr
	family  int
	epoll   int
	clock   int // ticks at the rate
	clients map[int]*visitor
	idle    []*visitor
	out     int // requests without their answer
	end     time.Time
	outcome
	buffer [64 << 10]byte
}

// A visitor is one client with its connection.
type visitor struct {
	fd     int
	since  time.Time // of the request that is out; zero: none is
	got    []byte
	served int // on this connection
}

// run sends a load to an address and returns what came back.
func (l load) run(address string) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := newCrowd(l, address)
	if err != nil {
		return outcome{}, err
	}
	defer c.leave()
	if err := c.begin(); err != nil {
		return outcome{}, err
	}
	if l.begun != nil {
		c.end = time.Now().Add(l.time / 10)
		if err := c.loop(); err != nil {
			return outcome{}, err
		}
		c.outcome = outcome{waits: c.waits[:0]}
		l.begun()
	}
	begun := time.Now()
	c.end = begun.Add(l.time)
	c.askAll()
	if err := c.loop(); err != nil {
		return outcome{}, err
	}
	c.elapsed = time.Since(begun)
	slices.Sort(c.waits)
	if c.answered == 0 {
		return c.outcome, errors.New("nothing was answered")
	}
	return c.outcome, nil
}

// newCrowd prepares clients for an address, or for the path of a unix socket.
func newCrowd(l load, address string) (*crowd, error) {
	c := &crowd{load: l, clients: map[int]*visitor{}, clock: -1, family: unix.AF_UNIX}
	c.waits = make([]time.Duration, 0, 1<<18)
	c.target = &unix.SockaddrUnix{Name: address}
	if !strings.HasPrefix(address, "/") {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		c.family, c.target = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	var err error
	c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return c, err
}

func (c *crowd) leave() {
	unix.Close(c.epoll)
	for fd := range c.clients {
		unix.Close(fd)
	}
	if c.clock >= 0 {
		unix.Close(c.clock)
	}
}

func (c *crowd) begin() error {
	for range c.connections {
		v := &visitor{}
		if err := c.connect(v); err != nil {
			return err
		}
		if c.rate > 0 {
			c.idle = append(c.idle, v)
		} else {
			c.ask(v)
		}
	}
	if c.rate == 0 {
		return nil
	}
	var err error
	if c.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	every := unix.NsecToTimespec(int64(time.Second) / int64(c.rate))
	if err := unix.TimerfdSettime(c.clock, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return err
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, c.clock, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.clock)})
}

func (c *crowd) connect(v *visitor) error {
	fd, err := unix.Socket(c.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, c.target); err != nil {
		unix.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	if c.family == unix.AF_INET {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	unix.SetNonblock(fd, true)
	v.fd, v.served, v.got = fd, 0, v.got[:0]
	c.clients[fd] = v
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// askAll lets the clients go on that have no request out, where no clock says when they do.
func (c *crowd) askAll() {
	for _, v := range c.clients {
		if c.rate == 0 && v.since.IsZero() {
			c.ask(v)
		}
	}
}

func (c *crowd) ask(v *visitor) {
	v.since = time.Now()
	c.out++
	what := request
	if c.reconnect {
		what = lastRequest
	}
	unix.Write(v.fd, what)
}

// loop goes on until the time is over and what is out has come back.
func (c *crowd) loop() error {
	const patience = 10 * time.Second
	for c.out > 0 || time.Now().Before(c.end) {
		if time.Since(c.end) > patience {
			return fmt.Errorf("%d requests have no answer after %v", c.out, patience)
		}
		if err := c.step(); err != nil {
			return err
		}
	}
	return nil
}

// step waits for what happens next, for 100 ms at most.
func (c *crowd) step() error {
	var events [256]unix.EpollEvent
	n, err := unix.EpollWait(c.epoll, events[:], 100)
	if err != nil && err != unix.EINTR {
		return err
	}
	for _, e := range events[:max(0, n)] {
		if int(e.Fd) == c.clock {
			c.tick()
		} else if v := c.clients[int(e.Fd)]; v != nil {
			if err := c.hear(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *crowd) tick() {
	var ticks [8]byte
	unix.Read(c.clock, ticks[:])
	if time.Now().After(c.end) {
		return
	}
	for range ticks[0] {
		if len(c.idle) == 0 {
			c.late++
			continue
		}
		v := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		c.ask(v)
	}
}

// hear takes what came for a client, and lets it go on when its answer is whole.
func (c *crowd) hear(v *visitor) error {
	n, err := unix.Read(v.fd, c.buffer[:])
	if err == unix.EAGAIN {
		return nil
	}
	if n <= 0 {
		return c.again(v)
	}
	answer := c.buffer[:n]
	if len(v.got) > 0 {
		v.got = append(v.got, answer...)
		answer = v.got
	}
	if !whole(answer) {
		v.got = append(v.got[:0], answer...)
		return nil
	}
	if bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
		c.answered++
	} else {
		c.failed++
	}
	c.waits = append(c.waits, time.Since(v.since))
	c.out--
	v.since = time.Time{}
	over := c.reconnect || bytes.Contains(answer, lastAnswer)
	v.served, v.got = v.served+1, v.got[:0]
	if over {
		c.hangUp(v)
		if err := c.connect(v); err != nil {
			return err
		}
	}
	if c.rate > 0 {
		c.idle = append(c.idle, v)
	} else if time.Now().Before(c.end) {
		c.ask(v)
	}
	return nil
}

func (c *crowd) hangUp(v *visitor) {
	delete(c.clients, v.fd)
	unix.Close(v.fd)
}

// again is what a client does whose connection ended: many servers end one after so many requests, and that is no failure.
func (c *crowd) again(v *visitor) error {
	if v.served == 0 || len(v.got) > 0 {
		c.failed++
	}
	c.hangUp(v)
	if err := c.connect(v); err != nil || v.since.IsZero() {
		return err
	}
	c.out--
	v.since = time.Time{}
	if time.Now().Before(c.end) {
		c.ask(v)
	}
	return nil
}

// whole reports whether an answer is complete.
func whole(answer []byte) bool {
	end := bytes.Index(answer, headEnd)
	if end < 0 {
		return false
	}
	head := answer[:end+2]
	for _, name := range []string{"\r\nContent-Length: ", "\r\ncontent-length: "} {
		if i := bytes.Index(head, []byte(name)); i >= 0 {
			value, _, _ := bytes.Cut(head[i+len(name):], []byte("\r\n"))
			n, err := strconv.Atoi(string(value))
			return err == nil && len(answer) >= end+4+n
		}
	}
	return bytes.HasSuffix(answer, []byte("\r\n0\r\n\r\n"))
}
