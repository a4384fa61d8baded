//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// leaks is the app that keeps a piece of memory for each request.
const leaks = `
from shop import app as shop

kept = []

def app(environ, start_response):
    kept.append(bytearray(LEAK))
    return shop(environ, start_response)
`

// An app that leaks is replaced again and again under load: no request is lost, and no POST is begun
// twice. Where one copy runs at a time, requests are held meanwhile.
func TestALeakingAppIsRecycled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		workers int
		config  string
		longer  bool // at full size only
	}{
		"overlap":            {2, "", false},
		"replace one worker": {1, "reload = \"replace\"\n", false},
		"overlap one worker": {1, "", true},
	} {
		if c.longer && !*full {
			continue
		}
		t.Run(name, func(t *testing.T) {
			recycles, rate := fullTimes(2, 50), fullTimes(40, 100)
			leak := 80_000_000 / rate // 80 MB a second
			s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: c.workers, App: "leaks:app"}, release: testenv.Release{Number: 1},
				files:  map[string]string{"leaks.py": strings.ReplaceAll(leaks, "LEAK", fmt.Sprint(leak))},
				config: c.config + "hold.limit = 4000\nmemory.max = \"150MiB\"\nmemory.interval = \"200ms\"\nmemory.pause = \"500ms\"\n"})
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: rate, Mix: []loadgen.Kind{{Name: "get"}, {Name: "post", Body: 300}, {Name: "get, kept", Keep: true}}})
			began := time.Now()
			for n := range recycles {
				s.waitGeneration(n + 2)
				s.events++
			}
			took := time.Since(began) / time.Duration(recycles)
			s.finish()
			s.addNumbers("each=%.1fs", took.Seconds())
			outcome, err := s.daemon.Call(s.timeout(10*time.Second), "status", s.daemon.App)
			s.must(err)
			if !strings.Contains(outcome.Stdout, "memory.max is 150 MiB") {
				s.Errorf("status does not say why:\n%s", outcome.Stdout)
			}
			s.shutdown()
		})
	}
}
