//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A new connection wakes the process that accepts it, and no other one that has its socket: neither the
// monitor, which keeps all sockets, nor the supervisor, also one that has taken them over from the one
// before. gunicorn's sync workers get a connection for each request, and their socket is the supervisor's, too.
func TestAConnectionWakesTheRelayAlone(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}})
	k := &supervisorKills{relayKills: relayKills{fixture: s}}
	s.waitWorkers()
	const connections = 500
	for n := range 2 {
		supervisor := s.daemon.RolePid("supervisor")
		monitor, supervised := s.switches(s.daemon.Pid()), s.switches(supervisor)
		for range connections {
			if a := s.client.Do(s.Context(), loadgen.Kind{}); a.Loss != "" {
				t.Fatal(a)
			}
		}
		monitor, supervised = s.switches(s.daemon.Pid())-monitor, s.switches(supervisor)-supervised
		r.addNumbers("connections=%d monitor=%d supervisor=%d", connections, monitor, supervised)
		if monitor > connections/2 || supervised > connections/2 { // else it is their own work, as after a start
			t.Errorf("%d connections have woken the monitor %d times and the supervisor %d times", connections, monitor, supervised)
		}
		if n == 0 {
			r.must(s.daemon.KillSupervisor(s.timeout(30 * time.Second)))
			k.status()
			s.events++
		}
	}
	s.shutdown()
}

// switches is how often threads of a process have waited.
func (r *row) switches(pid int) (n int) {
	r.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	r.must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(text)) {
			if count, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				waits, err := strconv.Atoi(strings.TrimSpace(count))
				r.must(err)
				n += waits
			}
		}
	}
	return n
}
