// Command slowclients measures how long healthy requests take while slow clients are connected to
// an app with two sync workers of gunicorn: behind tideover, behind another tideover binary, and
// behind nginx with its defaults but client_max_body_size. It measures a long upload and the first event of a stream, too. See
// scripts/slow-clients.
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
	slowRate = 300 // bytes a second of a slow client, in one piece
	// minSettle is the least time between the last slow client's first bytes and the first measured
	// request; --settle is the longest one, in which workers write long responses into a spool.
	minSettle  = 2 * time.Second
	settled    = time.Second // a request takes less when the workers are free
	gap        = 20 * time.Millisecond
	giveUp     = 3 * time.Second // of a healthy request
	uploadSize = 1 << 30
	uploadTime = time.Minute // until an upload is given up
	streams    = 20
)

const program = `
import time
BIG = b"x" * (20 << 20)
def events():
    for _ in range(2):
        yield b"data: %d\n\n" % (time.time() * 1e6)
        time.sleep(0.1)
def app(environ, start_response):
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
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

// A comparison is what is measured of which servers.
type comparison struct {
	servers  []string
	before   string // the binary of the server "before"
	only     []string
	counts   []int
	duration time.Duration            // of healthy requests
	settle   time.Duration            // before that, at most
	rest     time.Duration            // from the end of what is measured to the last look at the memory
	alone    map[string]time.Duration // of a server: the median of its requests without slow clients
}

func main() {
	before := flag.String("before", "", "another tideover binary, to be compared")
	only := flag.String("only", "", "only these parts, separated by commas: idle, heads, 50kB, 10MB, read (clients); events, upload")
	counts := flag.String("clients", "2,100,2000", "numbers of slow clients")
	duration := flag.Duration("measure", 3*time.Second, "how long healthy requests are measured")
	settle := flag.Duration("settle", 10*time.Second, "how long the workers may take for the first bytes of the slow clients: 2,000 readers ask for 40 GB")
	rest := flag.Duration("rest", time.Second, "how long after the end of the slow clients memory and spool are looked at again; tideover gives memory back after 10 s")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		testenv.EndRun()
		os.Exit(130)
	})
	c := &comparison{servers: []string{"tideover", "nginx"}, before: *before, duration: *duration, settle: *settle, rest: *rest, alone: map[string]time.Duration{}}
	if *before != "" {
		c.servers = []string{"tideover", "before", "nginx"}
	}
	if *only != "" {
		c.only = strings.Split(*only, ",")
	}
	for _, word := range strings.Split(*counts, ",") {
		n, err := strconv.Atoi(word)
		check(err)
		c.counts = append(c.counts, n)
	}
	check(c.run(ctx))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "slow-clients:", err)
		testenv.EndRun()
		os.Exit(1)
	}
}

// wants reports whether a part is to be measured.
func (c *comparison) wants(part string) bool {
	return len(c.only) == 0 || slices.Contains(c.only, part)
}

func (c *comparison) run(ctx context.Context) error {
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
	fmt.Println("| server | part | p50 ms | p99 ms | longest ms | x alone | failed | MB/s | RSS MiB before | with | after | spool MiB with | after |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	type part struct {
		name    string
		measure func(*server, *line) error
	}
	parts := []part{{"alone", func(s *server, l *line) error { return c.healthy(s, l, kind{}, 0) }}}
	for _, k := range kinds {
		for _, n := range c.counts {
			if c.wants(k.name) {
				parts = append(parts, part{fmt.Sprintf("%d %s", n, k.name), func(s *server, l *line) error { return c.healthy(s, l, k, n) }})
			}
		}
	}
	if c.wants("events") {
		parts = append(parts, part{"first event", firstEvents})
	}
	if c.wants("upload") {
		parts = append(parts, part{"upload of 1 GiB", upload})
	}
	for _, p := range parts {
		for _, name := range c.servers {
			if err := c.measure(name, p.name, p.measure); err != nil {
				return fmt.Errorf("%s, %s: %w", name, p.name, err)
			}
		}
	}
	return nil
}

// A line is one line of the table. An empty cell was not measured.
type line struct {
	took                []time.Duration
	alone               time.Duration
	failed              int
	rate                float64 // MB a second
	before, with, after usage
}

// usage is what a server has of the machine, in bytes.
type usage struct{ memory, spool int64 }

// measure starts a server with gunicorn behind it and prints one line of the table.
func (c *comparison) measure(name, part string, measure func(*server, *line) error) error {
	env, err := testenv.New("slow")
	if err != nil {
		return err
	}
	defer env.Close(false)
	s, err := start(env, name, c.before)
	if err != nil {
		return err
	}
	ready := func() error { _, err := request(s.address); return err }
	if err := testenv.Poll(deadline(20*time.Second), 50*time.Millisecond, ready); err != nil {
		return err
	}
	l := &line{before: s.usage()}
	if err := measure(s, l); err != nil {
		return err
	}
	<-time.After(c.rest)
	l.after = s.usage()
	l.print(name, part)
	return nil
}

func (l *line) print(name, part string) {
	cells := []string{name, part}
	if len(l.took) > 0 {
		slices.Sort(l.took)
		for _, d := range []time.Duration{l.took[len(l.took)/2], l.took[len(l.took)*99/100], l.took[len(l.took)-1]} {
			cells = append(cells, fmt.Sprintf("%.1f", float64(d.Microseconds())/1000))
		}
	} else {
		cells = append(cells, "", "", "")
	}
	ratio, rate := "", ""
	if l.alone > 0 {
		ratio = fmt.Sprintf("%.1f", float64(l.took[len(l.took)/2])/float64(l.alone))
	}
	if l.rate > 0 {
		rate = fmt.Sprintf("%.0f", l.rate)
	}
	cells = append(cells, ratio, fmt.Sprintf("%d of %d", l.failed, max(1, len(l.took))), rate)
	for _, n := range []int64{l.before.memory, l.with.memory, l.after.memory, l.with.spool, l.after.spool} {
		cells = append(cells, fmt.Sprintf("%.1f", float64(n)/(1<<20)))
	}
	fmt.Printf("| %s |\n", strings.Join(cells, " | "))
}

// healthy measures requests while n slow clients are connected.
func (c *comparison) healthy(s *server, l *line, k kind, n int) error {
	clients := connect(s.address, k, n)
	if n > 0 {
		limit := time.Now().Add(c.settle)
		<-time.After(minSettle)
		for time.Now().Before(limit) {
			if d, err := request(s.address); err == nil && d < settled {
				break
			}
		}
	}
	for end := time.Now().Add(c.duration); time.Now().Before(end) || len(l.took) < 2; {
		d, err := request(s.address)
		if err != nil {
			l.failed++
		}
		l.took = append(l.took, d)
		<-time.After(gap)
	}
	l.with = s.usage()
	clients.close()
	if n == 0 {
		slices.Sort(l.took)
		c.alone[s.name] = l.took[len(l.took)/2]
	}
	l.alone = c.alone[s.name]
	return nil
}

// firstEvents measures the time from the app's write of the first event of a stream to its arrival.
func firstEvents(s *server, l *line) error {
	for range streams {
		d, err := firstEvent(s.address)
		if err != nil {
			l.failed++
		}
		l.took = append(l.took, d)
	}
	l.with = s.usage()
	return nil
}

func firstEvent(address string) (time.Duration, error) {
	c, err := net.DialTimeout("tcp", address, giveUp)
	if err != nil {
		return giveUp, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(giveUp))
	fmt.Fprint(c, "GET /events HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return giveUp, err
	}
	event, err := bufio.NewReader(response.Body).ReadString('\n')
	arrived := time.Now()
	if err != nil {
		return giveUp, err
	}
	written, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(event, "data:")), 10, 64)
	if err != nil {
		return giveUp, err
	}
	return arrived.Sub(time.UnixMicro(written)), nil
}

// upload measures a long body that comes as fast as it is taken.
func upload(s *server, l *line) error {
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				now := s.usage()
				l.with = usage{max(l.with.memory, now.memory), max(l.with.spool, now.spool)}
			}
		}
	}()
	began := time.Now()
	err := send(s.address, uploadSize)
	took := time.Since(began)
	close(stop)
	<-watched
	if err != nil {
		fmt.Fprintln(os.Stderr, "slow-clients:", s.name, err)
		l.failed++
		return nil
	}
	l.rate = uploadSize / 1e6 / took.Seconds()
	return nil
}

func send(address string, n int) error {
	c, err := net.DialTimeout("tcp", address, giveUp)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(uploadTime))
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", n)
	for piece := make([]byte, 256<<10); n > 0; n -= len(piece) {
		if _, err := c.Write(piece[:min(n, len(piece))]); err != nil {
			return err
		}
	}
	return answered(c)
}

// answered reads the answer to a request, which must be 200.
func answered(c net.Conn) error {
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("%s", response.Status)
	}
	return err
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
		f, err := env.Nginx(testenv.Backend(back), testenv.ProxyConfig{Extra: "client_max_body_size 0;"}) // else 1 MB
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

// usage is what the server has now.
func (s *server) usage() (u usage) {
	files := map[uint64]int64{}
	for _, pid := range s.pids() {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		text, _ := os.ReadFile(filepath.Join(proc, "statm"))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			u.memory += pages * int64(os.Getpagesize())
		}
		unlinked(filepath.Join(proc, "fd"), files)
	}
	for _, n := range files {
		u.spool += n
	}
	return u
}

// unlinked adds the files without a name that a process has open, by inode, with the disk space that
// each of them has.
func unlinked(fds string, files map[uint64]int64) {
	entries, _ := os.ReadDir(fds)
	for _, e := range entries {
		path := filepath.Join(fds, e.Name())
		target, _ := os.Readlink(path)
		var st unix.Stat_t
		if !strings.HasSuffix(target, " (deleted)") || strings.HasPrefix(target, "/memfd:") || unix.Stat(path, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			files[st.Ino] = st.Blocks * 512
		}
	}
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
	err = answered(c)
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
