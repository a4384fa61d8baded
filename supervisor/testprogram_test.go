package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/listener"
	"tideover/supervisor/process"
	"tideover/supervisor/relay"
	"tideover/supervisor/safepath"
)

// The test binary is also the command of the apps: with TESTPROGRAM in its
// environment it runs one of these programs. One that no test uses fails the run.
func testPrograms() map[string]func() {
	return map[string]func(){
		"web":          serveOK,
		"broken":       func() { fmt.Fprintln(os.Stderr, "ImportError: no module named shop"); os.Exit(3) },
		"silent":       func() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM); forever() },
		"ignores TERM": func() { signal.Ignore(syscall.SIGTERM); serveOK() },
		"daemonises":   leaveSession,
		"unwell":       func() { serve(http.StatusInternalServerError) },
		"rejects Host": func() { serve(http.StatusBadRequest) },
		"misdirected":  func() { serve(http.StatusMisdirectedRequest) },
		"worker":       func() { fmt.Println("working"); untilTerm() },
		"switched":     runSwitched,
		"listener":     listenItself,
		"thief":        stealPort,
		"sequential":   serveSequentially,

		"blocking accept": serveAfterBlockingAccept,
		"direct":          serveDirectly,
	}
}

// usedPrograms has the programs that a test has started.
var usedPrograms sync.Map

func TestMain(m *testing.M) {
	process.Shim()
	relay.Role(relayLogger)
	safepath.Helper()
	listener.Helper()
	if program := os.Getenv("TESTPROGRAM"); program != "" {
		testPrograms()[program]()
		return
	}
	code := m.Run()
	if code == 0 && len(os.Args) > 0 && !filtered() {
		for program := range testPrograms() {
			if _, ok := usedPrograms.Load(program); !ok {
				fmt.Printf("FAIL: no test uses the program %q\n", program)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// filtered reports whether only some of the tests ran.
func filtered() bool {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.run") || strings.HasPrefix(arg, "-test.fuzz") || strings.HasPrefix(arg, "-test.skip") || strings.HasPrefix(arg, "-test.list") {
			return true
		}
	}
	return false
}

// runSwitched becomes what the file named by TESTPROGRAM_SWITCH says at the moment of
// the start: that is how a deploy changes code in place.
func runSwitched() {
	program, err := os.ReadFile(os.Getenv("TESTPROGRAM_SWITCH"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testPrograms()[strings.TrimSpace(string(program))]()
}

func serveOK() { serve(http.StatusOK) }

// serve answers on fd 3 like an app: after TESTPROGRAM_IMPORT, with its release (the
// directory it runs in) and its pid. /slow takes until its pipe is opened, /big is bigResponse bytes long.
func serve(status int) {
	if also := os.Getenv("TESTPROGRAM_ALSO"); also != "" { // such as a port of metrics
		if _, err := net.Listen("tcp", also); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	pause()
	l, err := net.FileListener(os.NewFile(3, "private"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "no socket:", err)
		os.Exit(1)
	}
	server := &http.Server{Handler: handler(status)}
	go func() {
		untilTerm()
		server.Close()
	}()
	server.Serve(l)
}

// pause takes as long as the import of an app.
func pause() {
	if pause, err := time.ParseDuration(os.Getenv("TESTPROGRAM_IMPORT")); err == nil {
		<-time.After(pause)
	}
}

// acceptedHost is a Host for which every app answers 200, as with Django's ALLOWED_HOSTS.
const acceptedHost = "shop.example"

func handler(status int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		os.ReadFile(r.FormValue("until")) // a pipe: until its other end was opened and closed
		fmt.Fprintf(w, "slow pid=%d", os.Getpid())
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, bigResponse))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dir, _ := os.Getwd()
		if r.Host == acceptedHost {
			w.WriteHeader(http.StatusOK)
		} else {
			w.WriteHeader(status)
		}
		fmt.Fprintf(w, "pid=%d generation=%s dir=%s nonce=%s", os.Getpid(), os.Getenv("TIDEOVER_GENERATION"), dir, r.FormValue("nonce"))
	})
	return mux
}

// listenItself answers on the port or the path in its first argument, without keep-alive. It closes
// that socket at SIGUSR1 and opens it again at SIGUSR2. While the file in TESTPROGRAM_THIEF exists,
// its import takes until another process listens on its port.
func listenItself() {
	network, address := "unix", os.Args[1]
	if port, err := strconv.Atoi(address); err == nil {
		network, address = "tcp", fmt.Sprint("127.0.0.1:", port)
	}
	for taken := false; !taken; {
		<-time.After(5 * time.Millisecond)
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
		}
		_, awaited := os.Stat(os.Getenv("TESTPROGRAM_THIEF"))
		taken = err == nil || awaited != nil
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	server := &http.Server{Handler: handler(http.StatusOK)}
	server.SetKeepAlivesEnabled(false)
	for {
		l, err := net.Listen(network, address)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go server.Serve(l)
		for s := range signals {
			if s == syscall.SIGUSR2 {
				break
			}
			l.Close()
		}
	}
}

// serveSequentially is an app with one worker that serves one connection at a time, as gunicorn's
// sync worker does: all others wait in the backlog.
func serveSequentially() {
	pause()
	l, err := net.FileListener(os.NewFile(3, "private"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "no socket:", err)
		os.Exit(1)
	}
	serveEach(l.Accept)
}

// serveAfterBlockingAccept is serveSequentially with accept(2) on a blocking description.
func serveAfterBlockingAccept() {
	pause()
	if err := syscall.SetNonblock(3, false); err != nil {
		fmt.Fprintln(os.Stderr, "no socket:", err)
		os.Exit(1)
	}
	serveEach(func() (net.Conn, error) {
		fd, _, err := syscall.Accept(3)
		if err != nil {
			return nil, err
		}
		file := os.NewFile(uintptr(fd), "connection")
		defer file.Close()
		return net.FileConn(file)
	})
}

func serveEach(accept func() (net.Conn, error)) {
	go func() {
		untilTerm()
		os.Exit(0)
	}()
	for {
		conn, err := accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept:", err)
			os.Exit(1)
		}
		answer(conn)
	}
}

// answer answers one request and closes the connection.
func answer(conn net.Conn) {
	defer conn.Close()
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		io.Copy(io.Discard, r.Body)
		answer := httptest.NewRecorder()
		handler(http.StatusOK).ServeHTTP(answer, r)
		w := answer.Result()
		w.Close, w.ContentLength = true, int64(answer.Body.Len())
		w.Write(conn)
	}
}

// serveDirectly answers on the public socket until SIGTERM and finishes then what it has accepted;
// Shutdown of net/http would close connections whose request it has not read. At SIGUSR1, and with
// TESTPROGRAM_SHUTDOWN at its end too, it calls shutdown(2) on the socket.
func serveDirectly() {
	pause()
	public := os.NewFile(3, "public")
	defer public.Close()
	l, err := net.FileListener(public) // which makes the description non-blocking
	if err != nil {
		fmt.Fprintln(os.Stderr, "no socket:", err)
		os.Exit(1)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			syscall.Shutdown(3, syscall.SHUT_RD)
		}
	}()
	go func() {
		untilTerm()
		if os.Getenv("TESTPROGRAM_SHUTDOWN") != "" {
			syscall.Shutdown(3, syscall.SHUT_RD)
		}
		l.Close()
	}()
	var accepted sync.WaitGroup
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			accepted.Go(func() { answer(conn) })
		case errors.Is(err, net.ErrClosed):
			accepted.Wait()
			return
		default: // EINVAL, until the daemon has called listen(2) again
			<-time.After(time.Millisecond)
		}
	}
}

// stealPort listens, as another process than the app, on each port that stands in a command line
// before the word in its argument, as soon as it sees it. It says how many bytes each one got.
func stealPort() {
	stolen := map[int]bool{}
	for {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			text, _ := os.ReadFile(path)
			words := strings.Split(string(text), "\x00")
			i := slices.Index(words, os.Args[1])
			if i < 1 {
				continue
			}
			port, err := strconv.Atoi(words[i-1])
			if err != nil || stolen[port] {
				continue
			}
			if l, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", port)); err == nil {
				stolen[port] = true
				fmt.Println("stole", port)
				go countBytes(l)
			}
		}
	}
}

// countBytes answers every request, and says what it got.
func countBytes(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			request := make([]byte, 1<<16)
			if n, _ := conn.Read(request); n > 0 {
				fmt.Printf("bytes %d %q\n", n, request[:n])
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nstolen")
			}
		}()
	}
}

// leaveSession leaves a child in a session of its own, as a daemonising library
// would.
func leaveSession() {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serveOK()
}

func untilTerm() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	<-c
}

func forever() {
	for {
		<-time.After(time.Hour)
	}
}
