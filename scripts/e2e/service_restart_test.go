//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// keptSocket opens a socket that outlives each tideover that it is passed to, as systemd keeps one.
func (r *row) keptSocket(address string) *os.File {
	r.Helper()
	l, err := net.Listen("tcp", address)
	r.must(err)
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	r.must(err)
	r.Cleanup(func() { f.Close() })
	return f
}

// What `systemctl restart` does to tideover costs no request where systemd keeps the socket; where tideover has
// opened it, it does.
func TestServiceRestart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		kept   bool
		killed bool // the supervisor is, somewhere in the shutdown
		config string
		mix    []loadgen.Kind // nil: the usual one
	}{
		{"passed", true, false, "", nil},
		{"passed-killed", true, true, "", nil},
		{"passed-relay-none", true, false, "relay = \"none\"\n", []loadgen.Kind{{Name: "get"}, {Name: "post", Body: 300}}},
		{"own", false, false, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			address, err := testenv.Address()
			r.must(err)
			o := setup{back: address, config: c.config, release: testenv.Release{Number: 1, Import: 0.3}}
			if c.kept {
				o.sockets = []*os.File{r.keptSocket(address)}
			}
			s := newFixture(r, o)
			s.startLoad(100, c.mix...)
			for range times(3) {
				s.restartService(c.killed)
			}
			if c.kept {
				s.finish()
				s.shutdown()
				return
			}
			tally := s.load.Stop()
			s.addNumbers("events=%d %v", s.events, tally)
			if tally.Losses[loadgen.Refused] == 0 {
				r.Errorf("no connection was refused: %v", tally)
			}
		})
	}
}

// restartService ends tideover under load and starts it again. It returns when the next one has answered a while.
func (s *fixture) restartService(killed bool) {
	s.Helper()
	s.events++
	if killed {
		supervisor, err := os.FindProcess(s.daemon.RolePid("supervisor"))
		s.must(err)
		defer time.AfterFunc(rand.N(600*time.Millisecond), func() { supervisor.Kill() }).Stop()
	}
	s.must(s.daemon.Stop(syscall.SIGTERM, time.Minute))
	if code := s.daemon.Code(); code != 0 {
		s.Errorf("tideover ended with %d", code)
	}
	s.must(s.daemon.StartAgain())
	s.waitRelease(30*time.Second, 1)
	before := s.load.Tally().Right
	s.must(testenv.Poll(s.timeout(30*time.Second), 20*time.Millisecond, func() error {
		if answered := s.load.Tally().Right - before; answered < 50 {
			return fmt.Errorf("%d requests were answered", answered)
		}
		return nil
	}))
}
