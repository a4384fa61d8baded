package supervisor

import (
	"io"
	"os"

	"tideover/supervisor/metrics"
)

// Metrics writes what the daemon counts, in the text format of Prometheus.
func (s *Supervisor) Metrics(w io.Writer) error {
	m := metrics.Snapshot{Version: s.options.Version, Began: s.began, ConfigChanged: s.shared.source.changedFile() != "",
		Processes: []metrics.Process{{Role: "supervisor", Pid: os.Getpid()}}}
	if s.options.Processes != nil {
		for role, pid := range s.options.Processes() {
			m.Processes = append(m.Processes, metrics.Process{Role: role, Pid: pid})
		}
	}
	clients := s.shared.relay.Clients()
	m.Connections, m.ConnectionLimit = clients.Open, clients.Limit
	apps, _ := s.registry.selectApps(nil)
	used, _ := s.usage.of(mainProcesses(apps))
	for _, a := range apps {
		one := a.metrics()
		if g := a.snapshot.Load().current; g != nil {
			u := used[g.Process.Pid()]
			one.Processes, one.Memory, one.CPU = u.Processes, u.Memory, u.CPU
		}
		m.Apps = append(m.Apps, one)
	}
	return metrics.Write(w, m)
}

// mainProcesses are the main processes of the generations that serve.
func mainProcesses(apps []*App) (pids []int) {
	for _, a := range apps {
		if g := a.snapshot.Load().current; g != nil {
			pids = append(pids, g.Process.Pid())
		}
	}
	return pids
}

// metrics is what is known of the app but for the usage of its processes.
func (a *App) metrics() metrics.App {
	seen := a.snapshot.Load()
	m := metrics.App{Name: a.name, State: seen.state(), MemoryMax: uint64(seen.settings.Memory.Max), Crashes: uint64(seen.crashes), LastReload: seen.last,
		Draining: len(seen.draining), LinesDropped: a.linesDropped()}
	a.tally.fill(&m)
	if g := seen.current; g != nil {
		m.Generation, m.Revision, m.Directory, m.Ready = g.Number, g.Revision, g.Dir, g.Ready
		if g.Target != nil {
			m.Capacity, m.InFlight, m.Tunnels = g.Target.Concurrency(), g.Target.InFlight(), g.Target.Tunnels()
		}
	}
	if a.relay != nil {
		m.Web = true
		now := a.relay.state()
		m.Connections, m.Sending, m.Held, m.HeldOldest = now.Connections, now.Sending, now.Held, now.Oldest
		m.HoldLimit, m.Holds = seen.settings.Hold.Limit, len(seen.holds)
		m.Drained = seen.drained != nil
		m.Requests, m.Counters = a.relay.metrics(), a.relay.counters()
	}
	return m
}
