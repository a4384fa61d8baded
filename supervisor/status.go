package supervisor

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/metrics"
)

// Status returns the state of the apps that match the selectors (an app's name, the
// name that instances have in common, a label, or "all"), or of all apps. With
// selectors it also reads what the processes of each app use, which takes
// milliseconds.
func (s *Supervisor) Status(selectors ...string) (api.Status, error) {
	st := api.Status{Version: s.options.Version, Pid: s.pid(), Supervisor: os.Getpid(), Uptime: api.Seconds(time.Since(s.began)), Apps: []api.AppStatus{}, DurationBounds: metrics.DurationBounds()}
	apps, err := s.registry.selectApps(selectors)
	if err != nil {
		return api.Status{}, err
	}
	for _, a := range apps {
		st.Apps = append(st.Apps, a.status())
	}
	if len(selectors) > 0 {
		s.readUsage(st.Apps)
		st.ConfigChanged = s.shared.source.changedFile()
	}
	clients := s.shared.relay.Clients()
	st.Connections, st.ConnectionLimit = clients.Open, clients.Limit
	if f := s.Fleet(); f != nil {
		st.Fleet = f.Group
	}
	st.Turns, st.ShuttingDown = s.turns.status(), isClosed(s.ShuttingDown())
	if u := s.upgrade.Load(); u != nil {
		st.Upgrade = &u.Upgrade
	}
	return st, nil
}

// checkTimeout bounds the answer of an app to Check. Docker and Kubernetes have limits of their
// own for a health check.
const checkTimeout = 5 * time.Second

// Check is Status with the answer of each app: whether a request would be answered now. A
// web app gets its readiness probe, a plain process has to run. An app does not answer while it
// starts, is stopped or held, and from the moment in which the shutdown was announced.
func (s *Supervisor) Check(ctx context.Context, selectors ...string) (api.Status, error) {
	apps, failed := s.registry.selectApps(selectors)
	if failed != nil {
		return api.Status{}, failed
	}
	st, err := s.Status(selectors...)
	if err != nil {
		return api.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var asks sync.WaitGroup
	for _, a := range apps {
		i := slices.IndexFunc(st.Apps, func(seen api.AppStatus) bool { return seen.Name == a.name })
		if i < 0 {
			continue // an apply has removed it meanwhile
		}
		asks.Go(func() {
			answers, text := a.answers(ctx)
			st.Apps[i].Answers, st.Apps[i].Answer = &answers, text
		})
	}
	asks.Wait()
	return st, nil
}

// answers reports whether a request would be answered now, and the answer to the readiness
// probe, or why there is none.
func (a *App) answers(ctx context.Context) (ok bool, text string) {
	seen := a.snapshot.Load()
	state := seen.state()
	switch {
	case isClosed(a.announced):
		return false, "tideover is shutting down"
	case seen.current == nil && seen.reason != "":
		return false, fmt.Sprintf("it is %s: %s", state, seen.reason)
	case seen.current == nil:
		return false, "it is " + string(state)
	case len(seen.holds) > 0:
		return false, "its requests are held: " + strings.Join(seen.holds, ", ")
	case generation.ProbeOf(seen.settings) != generation.ProbeHTTP:
		return true, fmt.Sprintf("pid %d runs", seen.current.Process.Pid())
	}
	ok, text = seen.current.Answers(ctx)
	if ctx.Err() != nil {
		return false, "no answer within " + api.FormatDuration(checkTimeout)
	}
	return ok, text
}

// minAge is the least age over which CPU time is an average: it is counted in ticks of 10 ms.
const minAge = 100 * time.Millisecond

// readUsage reads what the processes of these apps use.
func (s *Supervisor) readUsage(apps []api.AppStatus) {
	var mains []int
	for _, a := range apps {
		if a.Generation > 0 {
			mains = append(mains, a.Pid)
		}
	}
	used, share := s.usage.of(mains)
	for i := range apps {
		a := &apps[i]
		u, known := used[a.Pid]
		if a.Generation == 0 || !known {
			continue
		}
		a.Processes, a.Memory, a.CPU = u.Processes, u.Memory, u.CPU.Seconds()
		now, measured := share[a.Pid]
		if !measured {
			now = u.CPU.Seconds() / max(u.Age, minAge).Seconds()
		}
		a.CPUShare = math.Round(1000*now) / 1000
	}
}

func (a *App) status() api.AppStatus {
	seen := a.snapshot.Load()
	cfg := seen.settings
	st := api.AppStatus{
		Name: a.name, State: seen.state(), Listen: a.listeners.describe(cfg.Listen), LastReload: seen.last,
		Command: cfg.Command, Directory: cfg.Directory, User: cfg.User, Labels: cfg.Labels, Ready: readyText(cfg),
		Restarts: seen.crashes, LastCrash: seen.lastCrash, MemoryMax: uint64(cfg.Memory.Max), Holds: seen.holds, HoldLimit: cfg.Hold.Limit, HoldFor: api.Seconds(cfg.Hold.Timeout),
	}
	if cfg.Direct() {
		st.Relay = cfg.Relay
	}
	if seen.current == nil {
		st.Reason = seen.reason
	}
	if !seen.next.IsZero() {
		st.Next = max(0, api.Seconds(time.Until(seen.next)))
	}
	if g := seen.current; g != nil {
		st.Generation, st.Revision, st.Pid, st.Uptime, st.Directory = g.Number, g.Revision, g.Process.Pid(), api.Seconds(time.Since(g.Ready)), g.Dir
		st.Says = g.NotifyStatus()
		if g.Target != nil {
			st.Capacity, st.InFlight, st.Tunnels = g.Target.Concurrency(), g.Target.InFlight(), g.Target.Tunnels()
		}
	} else if g := seen.spawned; g != nil {
		st.Pid, st.Directory, st.Says = g.Process.Pid(), g.Dir, g.NotifyStatus()
	}
	for _, t := range seen.draining {
		if t.Target != nil {
			st.Draining = append(st.Draining, api.DrainingGeneration{Generation: t.Number, Revision: t.Revision, InFlight: t.Target.InFlight(), Tunnels: t.Target.Tunnels()})
		}
	}
	if a.relay != nil {
		held := a.relay.state()
		st.Connections = held.Connections
		st.Held, st.HeldOldest = held.Held, api.Seconds(held.Oldest)
		if held.Held > 0 && !seen.failed {
			st.Next = min(st.Next, maxPauseWhileHeld.Seconds())
		}
		m := a.relay.metrics()
		st.RequestsPerSecond, st.FailingPerSecond, st.Durations = m.PerSecond, m.Failing, m.Client.Buckets
		for _, e := range m.Endings {
			if e.Status >= 500 {
				st.Failed += e.Requests
			}
		}
		c := a.relay.counters()
		st.Counters = api.Counters{Requests: c.Requests, Answered: c.Answered, Held: c.Held, Expired: c.Expired, Overflowed: c.Overflowed,
			ClientLeft: c.ClientLeft, Resent: c.Resent, Streamed: c.Streamed, Blocked: c.Blocked, Evicted: c.Evicted, Cut: c.Cut, BadRequest: c.BadRequest,
			BadGateway: c.BadGateway, TimedOut: c.TimedOut, Refused: c.Refused}
	}
	if st.Operation = a.progress.Load().status(); st.Operation != nil && seen.spawned != nil {
		st.Operation.Pid = seen.spawned.Process.Pid()
	}
	st.Drained = drainedStatus(seen.drained)
	st.Warnings = seen.warnings()
	return st
}

func readyText(cfg *config.App) string {
	switch generation.ProbeOf(cfg) {
	case generation.ProbeNotify:
		return "it sends READY=1"
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
