//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// Standard output and standard error of the daemon are a pipe that is full and is not read,
// as with a stopped `docker logs`: a reload, a crash of gunicorn and a request that tideover
// refuses are what they are otherwise, nothing is lost, and TERM ends the daemon.
func TestTheReaderOfTheOutputStopsReading(t *testing.T) {
	r := begin(t)
	pipe := unreadPipe(r)
	s := newFixture(r, setup{
		gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1, Import: 0.3},
		flags: loadFlags(), output: pipe,
	})
	pipe.Close()
	s.waitWorkers()
	s.startLoad(50)
	for range fullTimes(1, 5) {
		s.waitWorkers()
		began := time.Now()
		s.reload()
		s.addNumbers("reload_s=%.1f", time.Since(began).Seconds())
		s.waitWorkers()
		began = time.Now()
		s.killMaster()
		s.addNumbers("crash_s=%.1f", time.Since(began).Seconds())
		began = time.Now()
		s.refusesBadRequest()
		s.addNumbers("bad_request_ms=%d", time.Since(began).Milliseconds())
	}
	s.finish()
	began := time.Now()
	s.must(s.daemon.Signal(syscall.SIGTERM))
	select {
	case <-s.daemon.Exited():
	case <-s.timeout(10 * time.Second).Done():
		s.Fatal("TERM has not ended the daemon")
	}
	s.addNumbers("term_s=%.1f", time.Since(began).Seconds())
	if code := s.daemon.Code(); code != 0 {
		s.Errorf("TERM: exit code %d", code)
	}
	s.checkNoneLeft()
}

// unreadPipe returns the write end of a full pipe that is not read until the row ends.
func unreadPipe(r *row) *os.File {
	r.Helper()
	var fds [2]int
	r.must(unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	r.Cleanup(func() { unix.Close(fds[0]) })
	for err := error(nil); err == nil; {
		_, err = unix.Write(fds[1], []byte("\n"))
	}
	r.must(unix.SetNonblock(fds[1], false))
	return os.NewFile(uintptr(fds[1]), "pipe")
}

// refusesBadRequest demands tideover's own 400.
func (s *fixture) refusesBadRequest() {
	s.Helper()
	conn, err := net.Dial("tcp", string(s.back))
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err = io.WriteString(conn, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n")
	s.must(err)
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 400 ") {
		s.Errorf("a bad request: %q, %v", line, err)
	}
}

// A Go program that crashes writes its trace to standard error with write(2). A pipe that is full
// and not read keeps it from that, and not from its end: what supervises it can start it again.
func TestACrashOfTideoverEndsItWhateverReadsItsOutput(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{"none", "file"} {
		t.Run(reader, func(t *testing.T) {
			r := begin(t)
			o := setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}}
			if reader == "none" {
				o.output = unreadPipe(r)
			}
			s := newFixture(r, o)
			relay := s.daemon.RelayPid()
			s.must(s.daemon.Crash(syscall.SIGABRT)) // as a panic that is not recovered
			began := time.Now()
			select {
			case <-s.daemon.Exited():
			case <-s.timeout(5 * time.Second).Done():
				s.Fatal("the crash has not ended the daemon")
			}
			s.addNumbers("ended_s=%.1f", time.Since(began).Seconds())
			if s.daemon.Code() == 0 {
				s.Error("exit code 0")
			}
			if trace := s.daemon.Tail(1000); reader == "file" && !strings.Contains(trace, "goroutine ") {
				s.Errorf("there is no trace:\n%s", trace)
			}
			s.awaitExit(relay) // until then it passes requests to the old processes
			s.must(s.daemon.StartAgain())
			s.waitRelease(40*time.Second, 1)
			s.shutdown()
		})
	}
}

// What starts a daemon again at once, such as runit, does so before the relay of the one that has died
// has ended, which has the public socket: the daemon waits for that.
func TestADaemonThatIsStartedAtOnceAwaitsTheRelayOfTheFormer(t *testing.T) {
	t.Parallel()
	for _, unix := range []bool{false, true} {
		t.Run(map[bool]string{false: "tcp", true: "unix"}[unix], func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, unix: unix})
			relay := s.daemon.RelayPid()
			s.must(syscall.Kill(relay, syscall.SIGSTOP)) // it does not come to end
			s.must(s.daemon.Kill())
			<-s.daemon.Exited()
			s.must(s.daemon.StartAgain())
			s.must(testenv.Poll(s.timeout(20*time.Second), 5*time.Millisecond, func() error {
				if said := s.daemon.Tail(20); !strings.Contains(said, "former processes awaited") {
					return fmt.Errorf("it does not wait:\n%s", said)
				}
				return nil
			}))
			s.must(syscall.Kill(relay, syscall.SIGCONT))
			s.awaitExit(relay)
			s.waitRelease(40*time.Second, 1)
			s.shutdown()
		})
	}
}
