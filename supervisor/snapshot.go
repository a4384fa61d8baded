package supervisor

import (
	"fmt"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/state"
)

// snapshot is the state that an app's goroutine has published. It is never changed.
type snapshot struct {
	settings  *config.App
	current   *generation.Generation
	starting  bool                   // a generation is being started
	spawned   *generation.Generation // that one, once it has a process
	draining  []*generation.Teardown // every generation that is being stopped
	verb      api.Verb               // of the operation that runs
	desired   desired
	failed    bool
	next      time.Time
	reason    string
	crashes   int
	lastCrash *api.Crash
	tried     bool // up, stopped or failed, or a start has failed
	waits     bool // for its dependencies
	holds     []string
	drained   *state.Drained // for load balancers; nil: it is not
	last      *api.Result
	past      past
}

// state is the state that status shows.
func (s *snapshot) state() api.State {
	switch {
	case s.desired != desiredUp && len(s.draining) > 0:
		return api.Stopping
	case s.desired != desiredUp && !s.failed:
		return api.Stopped
	case s.verb.Renews():
		if s.current == nil || s.starting {
			return api.Reloading
		}
	}
	switch {
	case s.current != nil && len(s.holds) > 0:
		return api.Holding
	case s.current != nil:
		return api.Running
	case s.failed:
		return api.Failed
	case s.starting:
		return api.Starting
	case !s.next.IsZero():
		return api.Backoff
	}
	return api.Starting
}

// inFlight is the number of requests in the generations that are being stopped.
func (s *snapshot) inFlight() int {
	n := 0
	for _, t := range s.draining {
		if t.Target != nil {
			n += t.Target.InFlight()
		}
	}
	return n
}

// warnings are what endangers an app that serves.
func (s *snapshot) warnings() []string {
	if s.current == nil {
		return nil
	}
	var w []string
	if s.last != nil && s.last.Exit == api.ExitKeptOld {
		w = append(w, "the last reload failed: "+s.last.Error)
		if s.last.Hint != "" {
			w = append(w, s.last.Hint)
		}
	}
	if problem := s.current.ListenerProblem(); problem != "" {
		w = append(w, "requests are held: "+problem)
	}
	if s.current.Lenient {
		w = append(w, "its first answer was an error; set ready.path to say what counts")
	}
	if host := s.current.HostRejected(); host != "" {
		w = append(w, fmt.Sprintf("its first answer was %d: %s", s.current.Status, hostHint(host)))
	}
	return w
}
