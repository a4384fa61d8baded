package supervisor

import (
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// snapshot is what an app's goroutine has published of itself. It is never
// changed; the numbers that move by themselves are read when somebody asks.
type snapshot struct {
	settings *config.App
	current  *Generation
	rising   bool        // a generation is on its way up
	booting  *Generation // that one, once it has a process
	leaving  int         // generations on their way out
	verb     api.Verb    // of the operation under way
	rest     rest
	failed   bool
	next     time.Time
	reason   string
	crashes  int
	tried    bool // up, stopped, failed, or has not answered at least once
	waits    bool // for those that are to come first
	holds    []string
	last     *api.Result
}

// publish lets everybody see how the app stands now.
func (a *App) publish() {
	seen := &snapshot{
		settings: a.settings, current: a.current, leaving: len(a.departures), rest: a.comeback.rest,
		failed: a.comeback.failed, reason: a.comeback.reason, crashes: a.comeback.crashes, last: a.desk.last,
	}
	seen.rising, seen.booting = a.boot != nil, a.boot.begun()
	if a.boot.hooked() {
		seen.reason = beforeStart + " runs"
	}
	if a.desk.running != nil {
		seen.verb = a.desk.running.verb
	}
	if a.comeback.pending() {
		seen.next = a.comeback.at
	}
	seen.waits = len(a.comeback.first) > 0
	seen.tried = seen.current != nil || seen.rest != awake || seen.failed || a.comeback.unanswered > 0
	if seen.waits {
		seen.reason = "waits for " + strings.Join(a.settings.After, ", ")
	}
	for _, name := range slices.Sorted(maps.Keys(a.leases.byName)) {
		l := a.leases.byName[name]
		seen.holds = append(seen.holds, l.name+" ("+l.by+")")
	}
	a.seen.Store(seen)
	a.house.vigil.see(a.name, seen)
	if up := seen.current != nil || seen.rest != awake || seen.failed; up && !isDone(a.settled) {
		close(a.settled)
	}
}

// state is what the operator is told.
func (s *snapshot) state() api.State {
	switch {
	case s.rest != awake && s.leaving > 0:
		return api.Stopping
	case s.rest != awake && !s.failed:
		return api.Stopped
	case s.verb == api.Reload || s.verb == api.Restart:
		if s.current == nil || s.rising {
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
	case s.rising:
		return api.Starting
	case !s.next.IsZero():
		return api.Backoff
	}
	return api.Starting
}

// Status tells how the apps stand that the selectors mean, or all of them: an
// app's name, the name its instances have in common, a label, or "all". Of those
// asked for it also looks at the processes, which costs milliseconds.
func (s *Supervisor) Status(selectors ...string) (api.Status, error) {
	st := api.Status{Version: s.options.Version, Pid: os.Getpid(), Uptime: api.Seconds(time.Since(s.began)), Apps: []api.AppStatus{}}
	apps, err := s.roster.choose(selectors)
	if err != nil {
		return api.Status{}, err
	}
	for _, a := range apps {
		st.Apps = append(st.Apps, a.status(len(selectors) > 0))
	}
	return st, nil
}

func (a *App) status(closely bool) api.AppStatus {
	seen := a.seen.Load()
	cfg := seen.settings
	st := api.AppStatus{
		Name: a.name, State: seen.state(), Listen: a.house.inherited.shown(cfg.Listen), LastReload: seen.last,
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
		st.Generation, st.Pid, st.Uptime, st.Directory = g.number, g.process.Pid(), api.Seconds(time.Since(g.ready)), g.dir
		st.Says = g.notices.said()
		if closely {
			st.Processes = len(g.process.Members())
			st.Memory, _ = g.process.Memory() // 0 when it is going this very moment
		}
		if g.target != nil {
			st.InFlight, st.Tunnels = g.target.InFlight(), g.target.Tunnels()
		}
	} else if g := seen.booting; g != nil {
		st.Pid, st.Directory, st.Says = g.process.Pid(), g.dir, g.notices.said()
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
	if s.current.lenient {
		w = append(w, "its first answer was an error; set ready.path to say what counts")
	}
	return w
}

func readyText(cfg *config.App) string {
	switch readiness(cfg) {
	case byNotice:
		return "it says READY=1"
	case byCommand:
		return strings.Join(cfg.Ready.Command, " ") + " exits with 0"
	case byAge:
		return "alive for " + api.FormatDuration(cfg.Ready.After)
	}
	path := cfg.Ready.Path
	if path == "" {
		path = "/"
	}
	return "GET " + path + " -> " + cfg.Ready.Status.String()
}
