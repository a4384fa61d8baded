package member

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
)

// reloadLocally has the reloads done that the supervisor has let wait for a turn. How each has ended is
// told to its caller.
func (m *Member) reloadLocally(ctx context.Context) {
	began := time.Now()
	done := fleet.Done{Outcome: fleet.OK}
	if err := m.options.Apps.Turn(ctx); err != nil {
		done = failedBy(err)
	}
	done.Duration = api.Seconds(time.Since(began))
	if ctx.Err() == nil {
		m.worked <- done
	}
}

// show tells the supervisor what is known of the fleet, if that has changed, at most once in an interval: of
// a large fleet each change would cost as much as all hosts.
func (m *Member) show(ctx context.Context) {
	if time.Since(m.looked) < interval {
		return // the ticker of Run comes
	}
	m.looked = time.Now()
	f := m.fleet()
	if reflect.DeepEqual(f, m.shown) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if m.options.Apps.SetFleet(ctx, f) == nil {
		m.shown = f
	}
}

// fleet is what is known of the fleet.
func (m *Member) fleet() api.Fleet {
	f := api.Fleet{Group: m.options.Group, Host: m.options.Host, Error: m.logged, Hosts: []api.FleetHost{}}
	if m.view == nil {
		return f
	}
	if m.turn == nil {
		f.Behind = behind(m.view.Behind(m.options.Host))
	}
	report := m.view.Report(m.options.Group)
	wished := ""
	known := map[string]*api.FleetHost{}
	var done []*api.FleetHost
	if r := report.Rollout; r != nil {
		wished = r.App
		f.Rollout = &api.FleetRollout{ID: r.ID, App: r.App, Revision: r.Revision, State: string(r.State), Of: len(r.Hosts)}
		if r.Halt != nil {
			f.Rollout.Halted = strings.TrimPrefix(r.Halt.Host+": "+r.Halt.Reason, ": ")
		}
		for _, t := range r.Hosts {
			h := &api.FleetHost{Name: t.Host, Turn: string(t.State)}
			known[t.Host] = h
			done = append(done, h)
			if t.State == fleet.Serving {
				f.Rollout.Done++
			}
		}
	}
	for _, host := range report.Hosts {
		h, ok := known[host.Name]
		if !ok {
			h = &api.FleetHost{Name: host.Name}
			done = append(done, h)
		}
		h.Here = true
		h.App, h.Apps = appOf(host, wished), len(host.Apps)
	}
	f.Members = len(done)
	f.Hosts = first(done)
	return f
}

// first bounds the hosts: if there are too many, those that are done are left out first.
func first(all []*api.FleetHost) []api.FleetHost {
	isDone := func(h *api.FleetHost) int {
		if h.Here && (h.Turn == "" || h.Turn == string(fleet.Serving)) {
			return 1
		}
		return 0
	}
	if len(all) > api.MaxFleetHosts {
		slices.SortStableFunc(all, func(a, b *api.FleetHost) int { return cmp.Compare(isDone(a), isDone(b)) })
		all = all[:api.MaxFleetHosts]
	}
	slices.SortFunc(all, func(a, b *api.FleetHost) int { return cmp.Compare(a.Name, b.Name) })
	hosts := []api.FleetHost{}
	for _, h := range all {
		hosts = append(hosts, *h)
	}
	return hosts
}

// appOf is one app of a host: that of the last rollout, or the first.
func appOf(host fleet.HostReport, wished string) *api.FleetApp {
	name := wished
	if _, has := host.Apps[wished]; !has {
		names := slices.Sorted(maps.Keys(host.Apps))
		if len(names) == 0 {
			return nil
		}
		name = names[0]
	}
	a := host.Apps[name]
	return &api.FleetApp{Name: name, State: a.State, Generation: a.Generation, Revision: a.Revision}
}

// behind says what a reload of the host's own waits for; empty: for nothing.
func behind(turning, gone, queued []string) string {
	var parts []string
	if len(turning) > 0 {
		parts = append(parts, "the turn of "+some(turning))
	}
	if len(gone) > 0 {
		parts = append(parts, some(gone)+", gone in its turn (rollout resume --skip)")
	}
	if len(queued) > 0 {
		parts = append(parts, some(queued)+" before it in the queue")
	}
	return strings.Join(parts, "; ")
}

// some are the first of some names, and the number of the others.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
}
