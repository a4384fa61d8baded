package supervisor

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// asSupervisorctl is the stop of a client of supervisord.
func (r *harness) asSupervisorctl(verb api.Verb, app string) api.Result {
	r.t.Helper()
	return r.want(r.s.Do(context.Background(), api.Request{Verb: verb, App: app, AwaitStart: verb == api.Stop, By: api.Caller{Via: "test"}}, func(api.Phase) {}), api.ExitOK)
}

func TestAStopAndAStartOfSupervisorctlLoseNothing(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.until("up", func(st api.AppStatus) bool { return st.State == api.Running })
	load := r.load(4)
	for range 3 {
		r.asSupervisorctl(api.Stop, "shop")
		if st := r.status(); st.State != api.Stopped || st.Pid != 0 {
			t.Errorf("after the stop: %s, pid %d", st.State, st.Pid)
		}
		if pids := r.processes(); len(pids) > 0 {
			t.Errorf("processes %v live on", pids)
		}
		r.until("held", func(st api.AppStatus) bool { return st.Held > 0 })
		r.asSupervisorctl(api.Start, "shop")
	}
	r.noneLost(load)
}

func TestAStopOfSupervisorctlWithoutAStartRefusesAfterHoldTimeout(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hold.Timeout = 300 * time.Millisecond })
	r.until("up", func(st api.AppStatus) bool { return st.State == api.Running })
	r.asSupervisorctl(api.Stop, "shop")
	r.until("refused at once", func(api.AppStatus) bool {
		status, _ := r.get("/")
		return status == http.StatusServiceUnavailable && r.status().Counters.Refused > 0
	})
	r.asSupervisorctl(api.Start, "shop")
	r.page()
	// The stop of tideover's own command refuses at once, also after the other one.
	r.asSupervisorctl(api.Stop, "shop")
	before := r.status().Counters
	r.want(r.do(api.Stop), api.ExitOK)
	if status, _ := r.get("/"); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	if st := r.status().Counters; st.Refused != before.Refused+1 || st.Expired != before.Expired {
		t.Errorf("counters %+v, before %+v", st, before)
	}
}

// programNames are group:name and state of all programs.
func (w *multiApp) programNames(configured bool) string {
	w.t.Helper()
	all, err := w.s.Programs(configured)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Group+":"+p.Name)
	}
	return strings.Join(names, " ")
}

func (w *multiApp) reread() api.Reread {
	w.t.Helper()
	groups, err := w.s.Reread(context.Background(), api.Caller{Via: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return groups
}

func (w *multiApp) group(f func(ctx context.Context, group string, by api.Caller) error, group string, want api.Exit) {
	w.t.Helper()
	exit := api.ExitOK
	if err := f(context.Background(), group, api.Caller{Via: "test"}); err != nil {
		exit = err.(*api.Error).Exit
	}
	if exit != want {
		w.t.Errorf("%s: exit %d, want %d", group, exit, want)
	}
}

// What `supervisorctl update` does with a changed group is a restart: it loses nothing.
func TestRemoveAndAddOfAChangedGroupLoseNothing(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"), named("blog", func(a *config.App) { a.Labels = []string{"site"} }))
	w.untilState("shop", api.Running)
	blog := w.untilState("blog", api.Running)
	if got := w.programNames(false); got != "shop:shop site:blog" {
		t.Errorf("programs %s", got)
	}
	w.edit("blog", env("COLOUR", "blue"))
	if got := w.reread(); !slices.Equal(got.Changed, []string{"site"}) || len(got.Added)+len(got.Removed) > 0 {
		t.Errorf("reread %+v", got)
	}
	load := w.at(blog.Listen[0]).load(3)
	w.group(w.s.RemoveGroup, "site", api.ExitBusy)
	w.group(w.s.AddGroup, "site", api.ExitBusy)
	w.asSupervisorctl(api.Stop, "site:blog")
	w.group(w.s.RemoveGroup, "site", api.ExitOK)
	if got := w.programNames(false); got != "shop:shop" {
		t.Errorf("programs after the removal: %s", got)
	}
	if got := w.reread(); !slices.Equal(got.Added, []string{"site"}) || len(got.Changed)+len(got.Removed) > 0 {
		t.Errorf("reread after the removal: %+v", got)
	}
	w.group(w.s.RemoveGroup, "site", api.ExitNoSuchApp)
	w.group(w.s.AddGroup, "nothing", api.ExitNoSuchApp)
	w.group(w.s.AddGroup, "site", api.ExitOK)
	w.untilState("blog", api.Running)
	w.noneLost(load)
	if st := w.untilState("blog", api.Running); st.Generation != 2 {
		t.Errorf("generation %d", st.Generation)
	}
	if got := w.reread(); len(got.Added)+len(got.Changed)+len(got.Removed) > 0 {
		t.Errorf("reread at the end: %+v", got)
	}
	w.wantApplied("shop:unchanged blog:unchanged")
}

func TestARemovedGroupGivesItsSocketUpAfterHoldTimeout(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop", func(a *config.App) { a.Hold.Timeout = 300 * time.Millisecond }), named("jobs", workerApp))
	shop := w.untilState("shop", api.Running)
	w.untilState("jobs", api.Running)
	w.change(func(apps []*config.App) []*config.App { return nil })
	if got := w.reread(); !slices.Equal(got.Removed, []string{"shop", "jobs"}) {
		t.Errorf("reread %+v", got)
	}
	for _, app := range []string{"jobs", "shop"} {
		w.asSupervisorctl(api.Stop, app)
		w.group(w.s.RemoveGroup, app, api.ExitOK)
	}
	if got := w.programNames(false); got != "" {
		t.Errorf("programs %s", got)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(w.s.Apps()) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("apps %v are there", w.s.Apps())
		}
		<-time.After(10 * time.Millisecond)
	}
	if conn, err := net.Dial("tcp", shop.Listen[0]); err == nil {
		conn.Close()
		t.Error("the public socket is open")
	}
	w.change(func(apps []*config.App) []*config.App { return []*config.App{w.app(named("shop"))} })
	w.group(w.s.AddGroup, "shop", api.ExitOK)
	w.untilState("shop", api.Running)
}

func TestAnAddedGroupLeavesOthersAsTheyAre(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	shop := w.untilState("shop", api.Running)
	w.edit("shop", env("COLOUR", "blue"))
	w.change(func(apps []*config.App) []*config.App {
		return append(apps, w.app(named("blog")), w.app(named("wiki", func(a *config.App) { a.Autostart = false })))
	})
	if got := w.reread(); !slices.Equal(got.Added, []string{"blog", "wiki"}) || !slices.Equal(got.Changed, []string{"shop"}) {
		t.Errorf("reread %+v", got)
	}
	w.group(w.s.AddGroup, "blog", api.ExitOK)
	w.untilState("blog", api.Running)
	w.group(w.s.AddGroup, "wiki", api.ExitOK)
	w.untilState("wiki", api.Stopped)
	if st := w.untilState("shop", api.Running); st.Pid != shop.Pid {
		t.Errorf("pid %d became %d", shop.Pid, st.Pid)
	}
	if got := w.reread(); !slices.Equal(got.Changed, []string{"shop"}) || len(got.Added) > 0 {
		t.Errorf("reread %+v", got)
	}
	w.wantApplied("shop:reload blog:unchanged wiki:unchanged")
}

func TestAProgramHasTheTimesAndTheStatusOfItsLastProcess(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.until("up", func(st api.AppStatus) bool { return st.State == api.Running })
	program := func() api.Program {
		all, err := r.s.Programs(false)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	up := program()
	if up.Started.IsZero() || !up.Stopped.IsZero() || up.Pid == 0 || up.State != api.Running {
		t.Errorf("%+v", up)
	}
	r.asSupervisorctl(api.Stop, "shop")
	if down := program(); down.Stopped.Before(down.Started) || down.Pid != 0 || down.State != api.Stopped || !down.Started.Equal(up.Started) {
		t.Errorf("%+v", down)
	}
	r.asSupervisorctl(api.Start, "shop")
	if again := program(); !again.Started.After(up.Started) {
		t.Errorf("%+v", again)
	}
}
