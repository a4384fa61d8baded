package supervisor

import (
	"context"
	"fmt"
	"time"

	"tideover/supervisor/process"
)

// shutdownMargin is what a shutdown may take beside the timeouts of the apps: a start that
// is given up, processes that do not die of SIGKILL, the last lines of the output.
const shutdownMargin = 30 * time.Second

// ShutdownTimeout bounds a shutdown that lets requests finish: what is left of
// Options.StopTimeout; without it, drain.timeout, drain.tunnels and stop.timeout of the apps
// that stop one after another because of `after`, and 30 s. This is twice as long while an
// apply or an upgrade is under way, which may be stopping apps.
func (s *Supervisor) ShutdownTimeout() time.Duration {
	if end, limited := s.stopBy(); limited {
		return max(0, time.Until(end))
	}
	apps := longestStop(s.registry.all())
	if s.registry.changing.TryLock() {
		s.registry.changing.Unlock()
	} else {
		apps *= 2
	}
	return apps + shutdownMargin
}

// longestStop is the longest sum of timeouts of apps that stop one after another.
func longestStop(entries []*entry) time.Duration {
	sums := map[*entry]time.Duration{}
	var sum func(e *entry) time.Duration // of e and all apps that stop before it
	sum = func(e *entry) time.Duration {
		if known, ok := sums[e]; ok {
			return known // 0 in a circle
		}
		sums[e] = 0
		before := time.Duration(0)
		for _, other := range entries {
			if other.dependsOn(e) {
				before = max(before, sum(other))
			}
		}
		sums[e] = before + e.app.snapshot.Load().stopTimeout()
		return sums[e]
	}
	longest := time.Duration(0)
	for _, e := range entries {
		longest = max(longest, sum(e))
	}
	return longest
}

// stopTimeout bounds the stop of the app. A generation stops with the settings that it was
// started with.
func (s *snapshot) stopTimeout() time.Duration {
	timeout := s.settings.Drain.Timeout + s.settings.Drain.Tunnels + s.settings.Stop.Timeout
	if g := s.current; g != nil {
		t := g.StopTimeouts()
		timeout = max(timeout, t.Drain+t.Tunnels+t.Stop)
	}
	return timeout
}

// Unfinished says what a shutdown still waits for.
func (s *Supervisor) Unfinished() []string {
	var all []string
	for _, e := range s.registry.all() {
		if isClosed(e.app.closed) {
			continue
		}
		switch seen := e.app.snapshot.Load(); {
		case len(seen.draining) > 0:
			all = append(all, fmt.Sprintf("app %s stops %d of its generations", e.app.name, len(seen.draining)))
		case seen.verb != "":
			all = append(all, fmt.Sprintf("app %s: %s", e.app.name, seen.verb))
		default:
			all = append(all, fmt.Sprintf("app %s: %s", e.app.name, seen.state()))
		}
	}
	if len(all) == 0 {
		all = []string{"the end of connections, output or the control socket"}
	}
	return all
}

// KillProcesses sends SIGKILL to every process of every app and hook, and returns the pids
// that live when they are gone or ctx has ended. No process can be started afterwards: it is
// the last resort before the daemon exits.
func KillProcesses(ctx context.Context) (left []int) { return process.KillAll(ctx) }
