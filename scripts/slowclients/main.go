// Command slowclients measures how long healthy requests take while slow clients are connected to
// an app with two sync workers of gunicorn: behind tideover, behind another tideover binary, and
// behind nginx with its defaults. See scripts/slow-clients.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

const (
	slowRate   = 300             // bytes a second of a slow client, in one piece
	settle     = 4 * time.Second // between the last slow client's first bytes and the first measured request
	gap        = 20 * time.Millisecond
	giveUp     = 10 * time.Second // of a healthy request
	readLength = 20 << 20
)

const program = `
BIG = b"x" * (20 << 20)
def app(environ, start_response):
    n = int(environ.get("CONTENT_LENGTH") or 0)
    while n > 0:
        n -= len(environ["wsgi.input"].read(min(n, 65536)) or b"x" * n)
    body = BIG if environ["PATH_INFO"] == "/big" else b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

// A kind is what slow clients do.
type kind struct {
	name  string
	first string // what they send at once
	sends bool   // they go on sending, a piece a second
	reads bool   // they take a piece a second
}

var kinds = []kind{
	{name: "idle"},
	{name: "heads", first: "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow: ", sends: true},
	{name: "50kB", first: "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 50000\r\n\r\n", sends: true},
	{name: "10MB", first: "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10000000\r\n\r\n", sends: true},
	{name: "read", first: "GET /big HTTP/1.1\r\nHost: shop.test\r\n\r\n", reads: true},
}

// A server is what stands in front of gunicorn.
type server struct {
	name, address string
	pids          func() []int // those whose memory counts
}

func main() {
	before := flag.String("before", "", "another tideover binary, to be compared")
	only := flag.String("only", "", "only these kinds of clients, separated by commas: idle, heads, 50kB, 10MB, read")
	counts := flag.String("clients", "2,100,2000", "numbers of slow clients")
	duration := flag.Duration("measure", 6*time.Second, "how long healthy requests are measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		testenv.EndRun()
		os.Exit(130)
	})
	check(run(ctx, *before, *only, *counts, *duration))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "slow-clients:", err)
		testenv.EndRun()
		os.Exit(1)
	}
}

func run(ctx context.Context, before, only, counts string, duration time.Duration) error {
	var limit unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	limit.Cur = limit.Max
	unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	root, err := testenv.Repository()
	if err != nil {
		return err
	}
	if err := testenv.Build(ctx, root); err != nil {
		return err
	}
	fmt.Println("| server | clients | p50 ms | p99 ms | longest ms | failed | RSS MiB | after MiB |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, k := range kinds {
		if only != "" && !slices.Contains(strings.Split(only, ","), k.name) {
			continue
		}
		for _, word := range strings.Split(counts, ",") {
			n, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			for _, name := range []string{"tideover", "before", "nginx"} {
				if name == "before" && before == "" {
					continue
				}
				if err := measure(name, before, k, n, duration); err != nil {
					return fmt.Errorf("%s, %d x %s: %w", name, n, k.name, err)
				}
			}
		}
	}
	return nil
}

// measure starts a server with gunicorn behind it and prints one line of the table.
func measure(name, before string, k kind, n int, duration time.Duration) error {
	env, err := testenv.New("slow")
	if err != nil {
		return err
	}
	defer env.Close(false)
	s, err := start(env, name, before)
	if err != nil {
		return err
	}
	get := func() (time.Duration, error) { return request(s.address) }
	if err := testenv.Poll(deadline(20*time.Second), 50*time.Millisecond, func() error { _, err := get(); return err }); err != nil {
		return err
	}
	clients := connect(s.address, k, n)
	<-time.After(settle)
	var took []time.Duration
	failed := 0
	for end := time.Now().Add(duration); time.Now().Before(end) || len(took) < 3; {
		d, err := get()
		if err != nil {
			failed++
		}
		took = append(took, d)
		<-time.After(gap)
	}
	with := rss(s.pids())
	clients.close()
	<-time.After(2 * time.Second)
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("| %s | %d %s | %.1f | %.1f | %.1f | %d of %d | %.1f | %.1f |\n", name, n, k.name, ms(took[len(took)/2]), ms(took[len(took)*99/100]),
		ms(took[len(took)-1]), failed, len(took), float64(with)/(1<<20), float64(rss(s.pids()))/(1<<20))
	return nil
}

func deadline(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func start(env *testenv.Env, name, before string) (*server, error) {
	if _, err := env.Write("app/slow.py", program); err != nil {
		return nil, err
	}
	app := &testenv.App{Dir: env.Path("app")}
	command := testenv.Gunicorn{Workers: 2, App: "slow:app", Args: []string{"-t", "3600"}}
	if name == "nginx" {
		back, err := testenv.Address()
		if err != nil {
			return nil, err
		}
		command.Bind = back
		if _, err := env.Direct(app, command); err != nil {
			return nil, err
		}
		f, err := env.Nginx(testenv.Backend(back), testenv.ProxyConfig{})
		if err != nil {
			return nil, err
		}
		return &server{name, f.Address, func() []int { return tree(f.Process.Pid()) }}, nil
	}
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	o := testenv.RunOptions{Flags: []string{"--listen", address}, Command: command.Argv(env)}
	if name == "before" {
		o.Binary = before
	}
	t, err := env.Tideover(app, o)
	if err != nil {
		return nil, err
	}
	return &server{name, address, func() []int { return []int{t.Process.Pid()} }}, nil
}

// tree lists a process and its children.
func tree(pid int) []int {
	pids := []int{pid}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, word := range strings.Fields(string(text)) {
		child, _ := strconv.Atoi(word)
		pids = append(pids, child)
	}
	return pids
}

func rss(pids []int) (sum int64) {
	for _, pid := range pids {
		text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// request sends a healthy request on a connection of its own.
func request(address string) (time.Duration, error) {
	began := time.Now()
	c, err := net.DialTimeout("tcp", address, giveUp)
	if err != nil {
		return time.Since(began), err
	}
	defer c.Close()
	c.SetDeadline(began.Add(giveUp))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("%s", response.Status)
	}
	return time.Since(began), err
}

// slowClients are connections that go on by a piece a second.
type slowClients struct {
	fds  []int
	stop chan struct{}
	done chan struct{}
}

func connect(address string, k kind, n int) *slowClients {
	s := &slowClients{stop: make(chan struct{}), done: make(chan struct{})}
	for range n {
		fd, err := dial(address)
		if err != nil {
			fmt.Fprintln(os.Stderr, "slow-clients:", err)
			continue
		}
		unix.Write(fd, []byte(k.first))
		s.fds = append(s.fds, fd)
	}
	go s.goOn(k)
	return s
}

func dial(address string) (int, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	to := &unix.SockaddrInet4{Port: tcp.Port}
	copy(to.Addr[:], tcp.IP.To4())
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, unix.SetNonblock(fd, true)
}

func (s *slowClients) goOn(k kind) {
	defer close(s.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	piece := []byte(strings.Repeat("y", slowRate))
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for _, fd := range s.fds {
			switch {
			case k.sends:
				unix.Write(fd, piece)
			case k.reads:
				unix.Read(fd, piece)
			}
		}
	}
}

func (s *slowClients) close() {
	close(s.stop)
	<-s.done
	for _, fd := range s.fds {
		unix.Close(fd)
	}
}
