package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrEnded is the error of calls once the monitor is dead.
var ErrEnded = errors.New("the monitor of tideover was killed, and no process can be started without it: start tideover again, it takes the place of this one")

// A Child is a process that an earlier supervisor has ordered and whose status was not collected.
type Child struct {
	Token  string
	Pid    int                // while it was not reaped
	Exited bool               // and reaped; else Pid is its own, also if it is a zombie
	Status syscall.WaitStatus // if Exited
}

// A Signal is one that the monitor has got.
type Signal struct {
	Signal         syscall.Signal
	TerminalClosed bool // SIGHUP, because the terminal was closed
}

// State is what the monitor has when a supervisor starts.
type State struct {
	Starts   int                 // number of supervisors that were started, this one included
	Former   *syscall.WaitStatus // how the one before has ended; nil: there was none
	Children []Child
	Stored   map[string]*os.File // belongs to the caller
}

// A Client is the supervisor's end of the channel. Its methods may be called from any goroutine.
type Client struct {
	conn    *conn
	pid     int
	program string
	oom     *oomScores
	exe     descriptor // this program
	ended   chan struct{}
	up      atomic.Bool

	mu       sync.Mutex // guards the rest, and writes
	onSignal func(Signal)
	got      int32 // signals
	last     uint32
	calls    map[uint32]chan *frame
	state    *State // while Hello collects it
}

// Dial returns the client of a process that a monitor has started as the supervisor; nil: this is
// none. It removes the variables of the environment, and is called once, before any fork.
func Dial() (*Client, error) {
	number, program, oom := os.Getenv(channelVariable), os.Getenv(programVariable), os.Getenv(oomVariable)
	for _, name := range []string{channelVariable, programVariable, oomVariable} {
		os.Unsetenv(name)
	}
	if number == "" || len(os.Args) == 0 || os.Args[0] != RoleName {
		return nil, nil
	}
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is no descriptor", channelVariable, number)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	c, err := newClient(os.NewFile(uintptr(fd), "monitor"))
	if err != nil {
		return nil, err
	}
	c.program = program
	if c.oom = parseOOMScores(oom); c.oom != nil {
		_ = writeOOMScore(c.oom.supervisor) // higher than that of the monitor, which this process has inherited
	}
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} { // systemd means the monitor
		if os.Getenv(name) == strconv.Itoa(c.pid) {
			os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	os.WriteFile("/proc/self/comm", []byte("tideover"), 0) // only what ps -e shows
	return c, nil
}

// newClient returns a client over its end of the channel, which it keeps.
func newClient(socket *os.File) (*Client, error) {
	raw, err := descriptorOf(socket)
	if err != nil {
		return nil, err
	}
	monitor, err := unix.GetsockoptUcred(int(raw), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	c := &Client{pid: int(monitor.Pid), ended: make(chan struct{}), calls: map[uint32]chan *frame{}}
	if c.conn, err = newConn(socket); err != nil {
		return nil, err
	}
	if c.exe, err = openExecutable(); err != nil {
		return nil, err
	}
	go c.read() // ends with the channel, at the end of one of the two processes
	return c, nil
}

// read reads the frames of the monitor.
func (c *Client) read() {
	for {
		f, err := c.conn.receive()
		if err != nil {
			break
		}
		switch f.kind {
		case kindAnswer:
			c.mu.Lock()
			waiting := c.calls[f.call]
			delete(c.calls, f.call)
			c.mu.Unlock()
			if waiting != nil {
				waiting <- f
			}
		case kindSignal:
			c.take(Signal{syscall.Signal(f.number), f.errno == 1})
		default:
			c.describe(f)
		}
	}
	close(c.ended)
}

// take has a signal handled, and says that this process has it.
func (c *Client) take(s Signal) {
	c.mu.Lock()
	onSignal := c.onSignal // that of Hello, before which there is no signal
	c.mu.Unlock()
	onSignal(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got++
	c.beatLocked()
}

// beatLocked says that this process runs, and how many signals it has got. c.mu must be held.
func (c *Client) beatLocked() {
	_ = c.conn.send(&frame{kind: kindBeat, number: c.got}) // an error means that the monitor is dead
}

// describe adds a frame to what Hello returns.
func (c *Client) describe(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state == nil:
		f.closeFiles()
	case f.kind == kindStored && len(f.files) == 1:
		c.state.Stored[f.text] = f.files[0].file(f.text)
	case f.kind == kindChild && f.text == "":
		status := syscall.WaitStatus(f.number)
		c.state.Former = &status
	case f.kind == kindChild && f.errno == 1:
		c.state.Children = append(c.state.Children, Child{Token: f.text, Exited: true, Status: syscall.WaitStatus(f.number)})
	case f.kind == kindChild:
		c.state.Children = append(c.state.Children, Child{Token: f.text, Pid: int(f.number)})
	default:
		f.closeFiles()
	}
}

// call sends a frame and waits for its answer. The error is a syscall.Errno or ErrEnded.
func (c *Client) call(f *frame) (int32, error) {
	answered := make(chan *frame, 1)
	c.mu.Lock()
	c.last++
	f.call = c.last
	c.calls[f.call] = answered
	err := c.conn.send(f)
	c.mu.Unlock()
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, os.ErrClosed) {
		c.mu.Lock()
		delete(c.calls, f.call)
		c.mu.Unlock()
		return 0, err
	}
	select {
	case answer := <-answered:
		if answer.errno != 0 {
			return 0, syscall.Errno(answer.errno)
		}
		return answer.number, nil
	case <-c.ended:
		return 0, ErrEnded
	}
}

// callWith is call with the descriptors of files behind those of the frame.
func (c *Client) callWith(f *frame, files ...*os.File) (int32, error) {
	for _, file := range files {
		d, err := descriptorOf(file)
		if err != nil {
			return 0, err
		}
		f.files = append(f.files, d)
	}
	defer runtime.KeepAlive(files)
	return c.call(f)
}

// Pid is that of the monitor: what systemd and the pid file know as tideover.
func (c *Client) Pid() int { return c.pid }

// Program is argv[0] of the monitor.
func (c *Client) Program() string { return c.program }

// OOMScoreAdj is that of processes that are none of tideover's own; nil: the one of this process.
func (c *Client) OOMScoreAdj() *int {
	if c.oom == nil {
		return nil
	}
	return &c.oom.app
}

// Ended is closed when the monitor is dead.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Hello says that this process handles signals, and returns what there is. onSignal is called for
// each one, and must not block.
func (c *Client) Hello(onSignal func(Signal)) (State, error) {
	state := &State{Stored: map[string]*os.File{}}
	c.mu.Lock()
	c.state, c.onSignal = state, onSignal
	c.mu.Unlock()
	starts, err := c.call(&frame{kind: kindHello})
	c.mu.Lock()
	c.state = nil
	c.mu.Unlock()
	state.Starts = int(starts)
	return *state, err
}

// Up says that this process has started: if it ends without Done, another one is started, with the
// same executable.
func (c *Client) Up() error {
	c.up.Store(true)
	_, err := c.call(&frame{kind: kindUp, files: []descriptor{c.exe}})
	return err
}

// Beat says again and again that this process runs, until ctx ends.
func (c *Client) Beat(ctx context.Context) {
	ticker := time.NewTicker(beatEvery(os.Getenv("WATCHDOG_USEC")))
	defer ticker.Stop()
	for {
		c.mu.Lock()
		c.beatLocked()
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Spawn forks this program with argv[0] in a session of its own. The token is new and not empty.
// files are the descriptors from 0 on, and stay the caller's.
func (c *Client) Spawn(token, argv0 string, env []string, files []*os.File) (pid int, err error) {
	if len(files) >= maxFiles {
		return 0, fmt.Errorf("%d descriptors are more than one message may have: %w", len(files), unix.EINVAL)
	}
	text := strings.Join(append([]string{token, argv0}, env...), "\x00") + "\x00"
	if len(text) > maxText {
		return 0, unix.E2BIG
	}
	number, err := c.callWith(&frame{kind: kindSpawn, text: text, files: []descriptor{c.exe}}, files...)
	return int(number), err
}

// Collect reaps a child that has ended and returns its wait status. It is EAGAIN while the child
// lives, ESRCH if the token is none or was collected.
func (c *Client) Collect(token string) (syscall.WaitStatus, error) {
	status, err := c.call(&frame{kind: kindCollect, text: token})
	return syscall.WaitStatus(status), err
}

// HoldReaping has orphans that have ended stay zombies until resume is called.
func (c *Client) HoldReaping() (resume func()) {
	if _, err := c.call(&frame{kind: kindPause}); err != nil {
		return func() {}
	}
	return func() {
		_, _ = c.call(&frame{kind: kindResume}) // an error means that the monitor is dead
	}
}

// Put keeps a descriptor for the next supervisor, in the place of what has this name.
func (c *Client) Put(_ context.Context, name string, file *os.File) error {
	_, err := c.callWith(&frame{kind: kindStore, text: name}, file)
	if err != nil {
		return fmt.Errorf("keep descriptor %s: %w", name, err)
	}
	return nil
}

// Drop closes the monitor's descriptors of these names.
func (c *Client) Drop(_ context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		_, err := c.call(&frame{kind: kindDrop, text: name})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// notifyTimeout bounds the sending of one message: the queue of a receiver that does not read is
// full for ever. notifyRetry is the time between two tries.
const notifyTimeout, notifyRetry = time.Second, 20 * time.Millisecond

// Notify has the monitor send a message to systemd.
func (c *Client) Notify(text string) error {
	for until := time.Now().Add(notifyTimeout); ; {
		_, err := c.call(&frame{kind: kindNotify, text: text})
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(until) {
			return err
		}
		<-time.After(notifyRetry)
	}
}

// Done says that tideover ends with this process, which is to exit now, and with what exit code. Before
// Up it says nothing: another supervisor tries again what this one could not restore, and the exit
// code of the first one is that of tideover.
func (c *Client) Done(code int) {
	if !c.up.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.send(&frame{kind: kindDone, number: int32(code)}) // an error means that the monitor is dead
}

// Replace has the monitor start another executable in the place of this one, which is to exit now without
// Done. If that ends before it is up, this program is started again.
func (c *Client) Replace(program *os.File) error {
	_, err := c.callWith(&frame{kind: kindReplace}, program)
	return err
}
