package supervisor

import (
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
)

// snapshot is the state that an app's goroutine has published. It is never changed.
type snapshot struct {
	settings  *config.App
	current   *generation.Generation
	starting  bool                   // a generation is being started
	spawned   *generation.Generation // that one, once it has a process
	teardowns int
	verb      api.Verb // of the operation that runs
	desired   desired
	failed    bool
	next      time.Time
	reason    string
	crashes   int
	tried     bool // up, stopped or failed, or a start has failed
	waits     bool // for its dependencies
	holds     []string
	last      *api.Result
}

// publish stores a snapshot of the app as it is now.
func (a *App) publish() {
	s := &snapshot{
		settings: a.settings, current: a.current, teardowns: len(a.teardowns), desired: a.restart.desired,
		failed: a.restart.failed, reason: a.restart.reason, crashes: a.restart.crashes, last: a.queue.last,
	}
	if a.starting != nil {
		s.starting, s.spawned = true, a.starting.Generation()
		if a.starting.HookRuns() {
			s.reason = generation.HookBeforeStart + " runs"
		}
	}
	if a.queue.running != nil {
		s.verb = a.queue.running.verb
	}
	if a.restart.pending() {
		s.next = a.restart.at
	}
	s.waits = len(a.restart.dependencies) > 0
	s.tried = s.current != nil || s.desired != desiredUp || s.failed || a.restart.failedStarts > 0
	if s.waits {
		s.reason = "waits for " + strings.Join(a.settings.After, ", ")
	}
	for _, name := range slices.Sorted(maps.Keys(a.leases.byName)) {
		l := a.leases.byName[name]
		s.holds = append(s.holds, l.name+" ("+l.by+")")
	}
	a.snapshot.Store(s)
	a.exit.update(a.name, s)
	if started := s.current != nil || s.desired != desiredUp || s.failed; started && !isClosed(a.started) {
		close(a.started)
	}
}

// state is the state that status shows.
func (s *snapshot) state() api.State {
	switch {
	case s.desired != desiredUp && s.teardowns > 0:
		return api.Stopping
	case s.desired != desiredUp && !s.failed:
		return api.Stopped
	case s.verb == api.Reload || s.verb == api.Restart:
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

// Status returns the state of the apps that match the selectors (an app's name, the
// name that instances have in common, a label, or "all"), or of all apps. With
// selectors it also reads the processes and memory of each tree, which takes
// milliseconds.
func (s *Supervisor) Status(selectors ...string) (api.Status, error) {
	st := api.Status{Version: s.options.Version, Pid: os.Getpid(), Uptime: api.Seconds(time.Since(s.began)), Apps: []api.AppStatus{}}
	apps, err := s.registry.selectApps(selectors)
	if err != nil {
		return api.Status{}, err
	}
	for _, a := range apps {
		st.Apps = append(st.Apps, a.status(len(selectors) > 0))
	}
	return st, nil
}

func (a *App) status(detailed bool) api.AppStatus {
	seen := a.snapshot.Load()
	cfg := seen.settings
	st := api.AppStatus{
		Name: a.name, State: seen.state(), Listen: a.listeners.describe(cfg.Listen), LastReload: seen.last,
		Command: cfg.Command, Directory: cfg.Directory, User: cfg.User, Labels: cfg.Labels, Ready: readyText(cfg),
		Restarts: seen.crashes, Holds: seen.holds, HoldLimit: cfg.Hold.Limit, HoldFor: api.Seconds(cfg.Hold.Timeout),
	}
	if seen.current == nil {
		st.Reason = seen.reason
	}
	if !seen.next.IsZero() {
		st.Next = max(0, api.Seconds(time.Until(seen.next)))
	}
	if g := seen.current; g != nil {
		st.Generation, st.Pid, st.Uptime, st.Directory = g.Number, g.Process.Pid(), api.Seconds(time.Since(g.Ready)), g.Dir
		st.Says = g.NotifyStatus()
		if detailed {
			st.Processes = len(g.Process.Members())
			st.Memory, _ = g.Process.Memory() // 0 when it is going this very moment
		}
		if g.Target != nil {
			st.InFlight, st.Tunnels = g.Target.InFlight(), g.Target.Tunnels()
		}
	} else if g := seen.spawned; g != nil {
		st.Pid, st.Directory, st.Says = g.Process.Pid(), g.Dir, g.NotifyStatus()
	}
	if a.server != nil {
		held := a.gate.Snapshot()
		st.Held, st.HeldOldest = held.Held, api.Seconds(held.Oldest)
		c := a.server.Counters()
		st.Counters = api.Counters{Requests: c.Requests, Answered: c.Answered, Held: c.Held, Expired: c.Expired, Overflowed: c.Overflowed,
			ClientLeft: c.ClientLeft, Resent: c.Resent, Cut: c.Cut, BadRequest: c.BadRequest, BadGateway: c.BadGateway,
			TimedOut: c.TimedOut, Refused: c.Refused}
	}
	st.Warnings = seen.warnings()
	return st
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
	if s.current.Lenient {
		w = append(w, "its first answer was an error; set ready.path to say what counts")
	}
	return w
}

func readyText(cfg *config.App) string {
	switch generation.ProbeOf(cfg) {
	case generation.ProbeNotify:
		return "it says READY=1"
	case generation.ProbeCommand:
		return strings.Join(cfg.Ready.Command, " ") + " exits with 0"
	case generation.ProbeMinUptime:
		return "alive for " + api.FormatDuration(cfg.Ready.After)
	}
	path := cfg.Ready.Path
	if path == "" {
		path = "/"
	}
	return "GET " + path + " -> " + cfg.Ready.Status.String()
}
