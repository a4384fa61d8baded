//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// priceOfRequests is what requests of one pattern may cost in system calls: reads, writes, and what
// the daemon does before it waits and when it is woken, which one client makes it do for each piece.
type priceOfRequests struct {
	clients  int
	newOnes  bool // each request has a connection of its own
	n        int
	most     float64 // calls of each request
	mostWork float64 // those that are no wait for an event, and find what they look for
	mostVain float64 // reads that find nothing
	fewest   float64 // below it they were not counted
}

// What a request costs in system calls, all of those of all threads of the daemon together, as
// strace counts them. What is counted is what a busy daemon does.
func TestPriceInSystemCalls(t *testing.T) {
	r := begin(t)
	r.must(onOneCPU())
	app, err := filepath.Abs("testdata/kept.py")
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	path, err := r.env.Write("tideover.toml", fmt.Sprintf("[app.kept]\ncommand = \"python3 %s {fd}\"\nlisten = %q\nupstream = \"unix\"\n", app, address))
	r.must(err)
	daemon, err := r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(10*time.Second), 10*time.Millisecond, func() error { return client(r.Context(), address, 1, false) }))
	r.must(sendFromAll(r.timeout(time.Minute), address, 256, 2560, false)) // and everything is warm
	for _, p := range []priceOfRequests{
		// How many events a wait finds is the scheduler's: one, as with one client, or all that are there.
		{clients: 1, n: 3000, most: 10.3, mostWork: 4.4, mostVain: 0.1, fewest: 4},
		{clients: 32, n: 20_000, most: 10.3, mostWork: 4.4, mostVain: 0.1, fewest: 4},
		{clients: 256, n: 20_480, most: 10.3, mostWork: 4.4, mostVain: 0.1, fewest: 4},
		{clients: 1, newOnes: true, n: 3000, most: 17, mostWork: 8.8, mostVain: 1, fewest: 8},
		{clients: 32, newOnes: true, n: 9600, most: 17, mostWork: 8.8, mostVain: 1, fewest: 8},
		{clients: 256, newOnes: true, n: 10_240, most: 17, mostWork: 8.8, mostVain: 1, fewest: 8},
	} {
		r.checkPrice(daemon, address, p)
	}
}

func (r *row) checkPrice(daemon *testenv.Tideover, address string, p priceOfRequests) {
	r.Helper()
	var calls, work, vain float64
	var text []byte
	for range 3 { // what else runs on the machine makes it idle now and then, which only adds to the count
		text = r.counted(daemon, address, p)
		all, waits, idle := tallied(text)
		calls, work, vain = float64(all)/float64(p.n), float64(all-waits-idle)/float64(p.n), float64(idle)/float64(p.n)
		if calls <= p.most && work <= p.mostWork && vain <= p.mostVain {
			break
		}
	}
	kind := "kept"
	if p.newOnes {
		kind = "new"
	}
	r.addNumbers("%s connections=%d requests=%d calls=%.2f work=%.2f vain_reads=%.3f", kind, p.clients, p.n, calls, work, vain)
	if calls > p.most || work > p.mostWork || vain > p.mostVain || calls < p.fewest {
		r.Errorf("%d %s connections: %.2f system calls for each request, %.2f of them work, %.3f reads for nothing:\n%s", p.clients, kind, calls, work, vain, text)
	}
}

// counted is strace's table of what the daemon does for the requests of a pattern.
func (r *row) counted(daemon *testenv.Tideover, address string, p priceOfRequests) []byte {
	counts := r.env.Path("calls")
	tracer, err := r.env.Start(testenv.Command{Name: "strace", Argv: []string{"strace", "-f", "-c", "-U", "calls,errors,name", "-o", counts, "-p", strconv.Itoa(daemon.RelayPid())}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(10*time.Second), 10*time.Millisecond, func() error { return traced(daemon.RelayPid()) }))
	r.must(sendFromAll(r.timeout(2*time.Minute), address, p.clients, p.n, p.newOnes))
	r.must(tracer.Stop(syscall.SIGINT, 10*time.Second))
	text, err := os.ReadFile(counts)
	r.must(err)
	return text
}

// sendFromAll sends n requests, shared by clients that keep their connections or open one for each
// request.
func sendFromAll(ctx context.Context, address string, clients, n int, newOnes bool) error {
	failures := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { failures[i] = cmp.Or(onOneCPU(), client(ctx, address, n/clients, newOnes)) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// onOneCPU binds the calling goroutine and what it starts from now on to the first CPU of the
// machine that it may use. On one CPU the daemon runs when all clients are blocked and has all their
// requests to serve; on two the number of its wake-ups is chance.
func onOneCPU() error {
	runtime.LockOSThread() // and never back: the thread ends with the goroutine
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	return unix.SchedSetaffinity(0, &one)
}

func client(ctx context.Context, address string, n int, newOnes bool) error {
	connections, each := 1, n
	if newOnes {
		connections, each = n, 1
	}
	for range connections {
		if err := onConnection(ctx, address, each, newOnes); err != nil {
			return err
		}
	}
	return nil
}

// onConnection sends n requests on a new connection; last: the server is to close it.
func onConnection(ctx context.Context, address string, n int, last bool) error {
	c, err := keep(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	request := "GET /page HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\n"
	if last {
		request += "Connection: close\r\n"
	}
	for range n {
		if _, err := io.WriteString(c, request+"\r\n"); err != nil {
			return err
		}
		if body, err := c.answer(); err != nil || body != "ok\n" {
			return fmt.Errorf("%q %v", body, err)
		}
	}
	return nil
}

// kept is a client's connection that is used again and again.
type kept struct {
	net.Conn
	in *bufio.Reader
}

func keep(ctx context.Context, address string) (*kept, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &kept{conn, bufio.NewReader(conn)}, nil
}

func (c *kept) ask(path string) error {
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\n\r\n")
	return err
}

// answer is the body of a 200; another status is an error.
func (c *kept) answer() (string, error) {
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != 200 {
		err = errors.New(answer.Status)
	}
	return string(body), err
}

// traced is nil when every thread of a process has a tracer.
func traced(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte("TracerPid:\t0\n")) {
			return fmt.Errorf("%s: not traced yet", path)
		}
	}
	return err
}

// tallied adds up a table of strace's: all calls, those that wait for an event (accept4 where the
// backlog is empty, too), and the reads that found nothing.
func tallied(table []byte) (all, waits, vain int) {
	for line := range strings.Lines(string(table)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[len(words)-1] == "total" {
			continue
		}
		calls, err := strconv.Atoi(words[0])
		if err != nil {
			continue
		}
		all += calls
		failed := 0
		if len(words) == 3 {
			failed, _ = strconv.Atoi(words[1])
		}
		switch words[len(words)-1] {
		case "epoll_pwait", "nanosleep", "futex":
			waits += calls
		case "accept4":
			waits += failed
		case "read", "recvfrom":
			vain += failed
		}
	}
	return all, waits, vain
}
