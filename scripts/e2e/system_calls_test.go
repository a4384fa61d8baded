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

// What a request costs in system calls, all threads of the daemon together, as strace counts them. What is counted is what a busy
// daemon does.
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
	r.must(testenv.Poll(r.timeout(10*time.Second), 10*time.Millisecond, func() error { return keptClient(r.Context(), address, 1) }))
	r.must(keepAsking(r.timeout(time.Minute), address, 32, 2000)) // and everything is warm

	const n = 20_000
	var calls, vain float64
	var text []byte
	for range 3 { // what else runs on the machine makes it idle now and then, which only adds to the count
		text = r.counted(daemon, address, n)
		all, idle := tallied(text)
		calls, vain = float64(all)/n, float64(idle)/n
		if calls <= 4.5 && vain <= 0.1 {
			break
		}
	}
	r.addNumbers("requests=%d calls=%.2f vain_reads=%.3f", n, calls, vain)
	if calls > 4.5 || vain > 0.1 || calls < 4 {
		t.Errorf("%.2f system calls for each request, %.3f of them reads for nothing:\n%s", calls, vain, text)
	}
}

// counted is strace's table of what the daemon does for n requests.
func (r *row) counted(daemon *testenv.Tideover, address string, n int) []byte {
	counts := r.env.Path("calls")
	tracer, err := r.env.Start(testenv.Command{Name: "strace", Argv: []string{"strace", "-f", "-c", "-U", "calls,errors,name", "-o", counts, "-p", strconv.Itoa(daemon.Pid())}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(10*time.Second), 10*time.Millisecond, func() error { return traced(daemon.Pid()) }))
	r.must(keepAsking(r.timeout(2*time.Minute), address, 32, n))
	r.must(tracer.Stop(syscall.SIGINT, 10*time.Second))
	text, err := os.ReadFile(counts)
	r.must(err)
	return text
}

// keepAsking sends n requests, shared by clients that keep their connections.
func keepAsking(ctx context.Context, address string, clients, n int) error {
	failures := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { failures[i] = cmp.Or(onOneCPU(), keptClient(ctx, address, n/clients)) })
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

func keptClient(ctx context.Context, address string, n int) error {
	c, err := keep(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for range n {
		if err := c.ask("/page"); err != nil {
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

// tallied adds up a table of strace's: all calls, and the reads that found nothing.
func tallied(table []byte) (all, vain int) {
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
		if words[len(words)-1] == "read" && len(words) == 3 {
			failed, _ := strconv.Atoi(words[1])
			vain += failed
		}
	}
	return all, vain
}
