package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// bigResponse is more than two kernels keep of a response.
const bigResponse = 24 << 20

// openBuffered starts a supervisor with an app whose responses are taken off its workers.
func openBuffered(t *testing.T, options ...appOption) *harness {
	t.Helper()
	r := prepare(t)
	file := &config.File{Apps: []*config.App{r.settings("web", options...)}}
	file.Apps[0].Buffering = "on"
	file.Daemon.Spool, file.Daemon.SpoolDir = 1<<30, t.TempDir()
	r.run(file, nil)
	r.page()
	return r
}

// A slowReader is a client that has not read its response, which the app has written.
type slowReader struct {
	net.Conn
	response *http.Response
}

// slowReader sends a request for a big response, and waits until the app is done with it.
func (r *harness) slowReader() *slowReader {
	r.t.Helper()
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(128 << 10)
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: shop\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("free, with one response that is not sent", func(st api.AppStatus) bool {
		return st.InFlight == 0 && st.Counters.Answered == st.Counters.Requests-1
	})
	return &slowReader{c, response}
}

// rest reads the response.
func (s *slowReader) rest() (int64, error) { return io.Copy(io.Discard, s.response.Body) }

// A client gets all of a response that the app has written, whatever happens to that app: at a
// reload, at a crash, and at a shutdown within drain.timeout.
func TestAClientReadsOnWhenTheAppIsGone(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*harness){
		"reload": func(r *harness) {
			pid := r.status().Pid
			r.want(r.do(api.Reload), api.ExitOK)
			r.until("the old processes are gone", func(st api.AppStatus) bool { return len(st.Draining) == 0 && st.Pid != pid })
		},
		"crash": func(r *harness) {
			pid := r.status().Pid
			syscall.Kill(pid, syscall.SIGKILL)
			r.until("started again", func(st api.AppStatus) bool { return st.State == "running" && st.Pid != pid })
		},
		"shutdown": func(r *harness) {
			r.s.Shutdown(false)
			r.until("stopped", func(st api.AppStatus) bool { return st.Pid == 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := openBuffered(t)
			s := r.slowReader()
			end(r)
			if n, err := s.rest(); n != bigResponse || err != nil {
				t.Errorf("%d bytes of %d, %v", n, bigResponse, err)
			}
			if name == "shutdown" {
				<-r.stopped
			}
		})
	}
}

// A client that does not read does not keep a shutdown for longer than drain.timeout, and what comes
// after it. It sees that its response is cut.
func TestAShutdownCutsAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := openBuffered(t, func(a *config.App) { a.Drain.Timeout = time.Second })
	s := r.slowReader()
	began := time.Now()
	r.s.Shutdown(false)
	<-r.stopped
	if took := time.Since(began); took < time.Second || took > 15*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	if n, err := s.rest(); err == nil {
		t.Errorf("the response looks whole with %d bytes", n)
	}
}
