package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func TestApplyWithoutAChangeDoesNothing(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"), named("jobs", workerApp))
	w.untilState("shop", api.Running)
	before := w.untilState("jobs", api.Running)
	w.wantApplied("shop:unchanged jobs:unchanged")
	if st := w.untilState("jobs", api.Running); st.Pid != before.Pid {
		t.Errorf("pid %d became %d", before.Pid, st.Pid)
	}
}

func TestApplyChangesLiveWhatCan(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	before := w.untilState("shop", api.Running)
	w.edit("shop", func(a *config.App) { a.Hold.Limit, a.Labels = 7, []string{"web"} })
	res := w.wantApplied("shop:live")
	if len(res.Apps[0].Settings) != 2 || res.Apps[0].Settings[1] != (api.SettingChange{Key: "hold.limit", Before: "1000", After: "7", Takes: "live"}) {
		t.Errorf("told %+v", res.Apps[0].Settings)
	}
	st, err := w.s.Status("web")
	if err != nil {
		t.Fatal(err)
	}
	if st.Apps[0].HoldLimit != 7 || st.Apps[0].Pid != before.Pid {
		t.Errorf("status %+v, want the new limit and the old process %d", st.Apps[0], before.Pid)
	}
	w.wantApplied("shop:unchanged")
}

func TestApplyChangesTheLimitsOfAllAppsWithoutANewStart(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	before := w.untilState("shop", api.Running)
	for _, limit := range []int{7, 3} {
		w.mu.Lock()
		w.daemon.MaxConns, w.daemon.Spool, w.daemon.SpoolDir = limit, 1<<20, t.TempDir()
		w.mu.Unlock()
		if res := w.wantApplied("shop:unchanged"); len(res.Warnings) > 0 {
			t.Errorf("warnings %q", res.Warnings)
		}
		st, err := w.s.Status("shop")
		if err != nil {
			t.Fatal(err)
		}
		if st.ConnectionLimit != limit || st.Apps[0].Pid != before.Pid {
			t.Errorf("limit %d, pid %d, want %d and %d", st.ConnectionLimit, st.Apps[0].Pid, limit, before.Pid)
		}
	}
}

func TestApplyReloadsOnlyWhatMust(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"), named("blog"))
	shop := w.untilState("shop", api.Running)
	blog := w.untilState("blog", api.Running)
	load := w.at(blog.Listen[0]).load(3)
	w.edit("blog", env("COLOUR", "blue"))
	res := w.wantApplied("shop:unchanged blog:reload")
	w.noneLost(load)
	if r := res.Apps[1].Result; r == nil || r.Exit != api.ExitOK || r.Generation != (api.GenerationPair{From: 1, To: 2}) {
		t.Errorf("result %+v", r)
	}
	if s := res.Apps[1].Settings; len(s) != 1 || s[0].After != "COLOUR added" || strings.Contains(fmt.Sprint(s), "blue") {
		t.Errorf("told %+v, want the name and not the value", s)
	}
	if st := w.untilState("shop", api.Running); st.Pid != shop.Pid {
		t.Error("shop was started again")
	}
}

func TestApplyAddsAndRemoves(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	w.untilState("shop", api.Running)
	blog, jobs := w.app(named("blog")), w.app(named("jobs", workerApp))
	w.change(func(apps []*config.App) []*config.App { return append(apps, blog, jobs) })
	w.wantApplied("shop:unchanged blog:added jobs:added")
	w.untilState("jobs", api.Running)
	w.at(blog.Listen[0]).page()
	if got := w.s.Apps(); !slices.Equal(got, []string{"shop", "blog", "jobs"}) {
		t.Errorf("apps %v", got)
	}

	pid := w.untilState("jobs", api.Running).Pid
	w.change(func(apps []*config.App) []*config.App { return apps[:1] })
	w.wantApplied("shop:unchanged blog:removed jobs:removed")
	if got := w.s.Apps(); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("apps %v", got)
	}
	if slices.Contains(w.processes(), pid) {
		t.Errorf("process %d of jobs lives on", pid)
	}
	if conn, err := net.Dial("tcp", blog.Listen[0]); err == nil {
		conn.Close()
		t.Error("blog's address is still open")
	}
}

func TestApplyOpensAnAddressAndClosesAnother(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	old := w.untilState("shop", api.Running).Listen[0]
	fresh := freeAddress(t)
	w.edit("shop", func(a *config.App) { a.Listen = []string{old, fresh} })
	load := w.at(old).load(2)
	w.wantApplied("shop:reopen")
	w.at(fresh).page()
	w.edit("shop", func(a *config.App) { a.Listen = []string{fresh} })
	w.noneLost(load)
	load = w.at(fresh).load(2)
	w.wantApplied("shop:reopen")
	w.noneLost(load)
	if conn, err := net.Dial("tcp", old); err == nil {
		conn.Close()
		t.Error("the old address is still open")
	}
}

// A narrower or wider address at the same port takes the place of the former one.
func TestApplyWidensAndNarrowsAnAddress(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	narrow := w.untilState("shop", api.Running).Listen[0]
	_, port, err := net.SplitHostPort(narrow)
	if err != nil {
		t.Fatal(err)
	}
	for _, wide := range []string{"0.0.0.0:" + port, "[::]:" + port} {
		for _, address := range []string{wide, narrow} {
			w.edit("shop", func(a *config.App) { a.Listen = []string{address} })
			if res := w.dryRun(); len(res.Warnings) > 0 {
				t.Errorf("%s: the dry run says %q", address, res.Warnings)
			}
			load := w.at(narrow).load(2)
			w.wantApplied("shop:reopen")
			w.noneLost(load)
			w.at(address).page()
		}
		if conn, err := net.Dial("tcp", "127.0.0.2:"+port); err == nil {
			conn.Close()
			t.Errorf("%s is still open", wide)
		}
	}
}

// A new app gets the address of which a removed one has a part.
func TestApplyGivesTheAddressOfARemovedAppAndMoreToANewOne(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	narrow := w.untilState("shop", api.Running).Listen[0]
	_, port, err := net.SplitHostPort(narrow)
	if err != nil {
		t.Fatal(err)
	}
	load := w.at(narrow).load(3)
	w.edit("shop", named("store"))
	w.edit("store", func(a *config.App) { a.Listen = []string{"0.0.0.0:" + port} })
	w.wantApplied("store:added shop:removed")
	w.noneLost(load)
	w.at("127.0.0.2:" + port).page()
}

// An address that changes hands is never closed: a client in the middle of it
// waits, and is answered by the new owner.
func TestAnAddressChangesHands(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	address := w.untilState("shop", api.Running).Listen[0]
	load := w.at(address).load(3)
	w.edit("shop", named("store"))
	w.wantApplied("store:added shop:removed")
	w.noneLost(load)
	if st := w.untilState("store", api.Running); !slices.Equal(st.Listen, []string{address}) {
		t.Errorf("status %+v", st)
	}
}

func TestWhatCannotBeAppliedChangesNothing(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	before := w.untilState("shop", api.Running)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	blog := w.app(named("blog"))
	other := w.app(named("other", func(a *config.App) { a.Listen = []string{taken.Addr().String()} }))
	w.edit("shop", func(a *config.App) { a.Hold.Limit = 7 })
	w.change(func(apps []*config.App) []*config.App { return append(apps, blog, other) })
	res := w.apply()
	if res.Exit != api.ExitConfig || !strings.Contains(res.Error, taken.Addr().String()) {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if st := w.untilState("shop", api.Running); st.HoldLimit != 1000 || st.Pid != before.Pid {
		t.Errorf("status %+v", st)
	}
	if conn, err := net.Dial("tcp", blog.Listen[0]); err == nil {
		conn.Close()
		t.Error("blog's address was left open")
	}
	w.mu.Lock()
	w.err = errors.New("tideover.toml:3:1: unknown key")
	w.mu.Unlock()
	if res := w.apply(); res.Exit != api.ExitConfig || !strings.Contains(res.Error, "unknown key") {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
}

func TestDryRunOnlyTells(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	before := w.untilState("shop", api.Running)
	w.edit("shop", env("COLOUR", "blue"))
	blog := w.app(named("blog"))
	w.change(func(apps []*config.App) []*config.App { return append(apps, blog) })
	res := w.s.Apply(context.Background(), api.ApplyRequest{DryRun: true}, func(api.Phase) {})
	if res.Result != "dry run" || changesOf(res) != "shop:reload blog:added" {
		t.Errorf("told %s: %+v", changesOf(res), res)
	}
	if st := w.untilState("shop", api.Running); st.Pid != before.Pid || len(w.s.Apps()) != 1 {
		t.Error("something was changed")
	}
}

func TestAppliedReloadThatFailsKeepsTheOld(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	before := w.untilState("shop", api.Running)
	usedPrograms.Store("broken", true)
	w.edit("shop", env("TESTPROGRAM", "broken"))
	res := w.apply()
	if res.Exit != api.ExitKeptOld || res.Apps[0].Result.Exit != api.ExitKeptOld {
		t.Errorf("exit %d: %+v", res.Exit, res)
	}
	if st := w.untilState("shop", api.Running); st.Pid != before.Pid {
		t.Error("the old generation is gone")
	}
	w.edit("shop", env("TESTPROGRAM", "web"))
	w.wantApplied("shop:unchanged")
}

func TestInstancesComeAndGo(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("jobs", workerApp, func(a *config.App) { a.Instances = 2 }))
	w.untilState("jobs:2", api.Running)
	first := w.untilState("jobs:1", api.Running)
	w.edit("jobs", func(a *config.App) { a.Instances = 3 })
	w.wantApplied("jobs:1:unchanged jobs:2:unchanged jobs:3:added")
	st, err := w.s.Status("jobs")
	if err != nil || len(st.Apps) != 3 {
		t.Fatalf("status %+v, %v", st, err)
	}
	w.edit("jobs", func(a *config.App) { a.Instances = 2 })
	w.wantApplied("jobs:1:unchanged jobs:2:unchanged jobs:3:removed")
	if again := w.untilState("jobs:1", api.Running); again.Pid != first.Pid {
		t.Error("jobs:1 was started again")
	}
}

func TestAfterIsKeptAtStartAndAtTheEnd(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("web", func(a *config.App) { a.After = []string{"jobs"} }),
		named("jobs", workerApp, func(a *config.App) { a.After = []string{"db"} }), named("db", workerApp))
	web := w.untilState("web", api.Running)
	jobs, db := w.untilState("jobs", api.Running), w.untilState("db", api.Running)
	// Each is started when the one before has been up: up longer means earlier.
	if !(db.Uptime >= jobs.Uptime && jobs.Uptime >= web.Uptime) {
		t.Errorf("up for: db %v, jobs %v, web %v", db.Uptime, jobs.Uptime, web.Uptime)
	}
	var order []string
	var mu sync.Mutex
	var watching sync.WaitGroup
	for _, m := range w.s.registry.all() {
		watching.Go(func() {
			<-m.app.closed
			mu.Lock()
			defer mu.Unlock()
			order = append(order, m.app.name)
		})
	}
	w.close()
	watching.Wait()
	if !slices.Equal(order, []string{"web", "jobs", "db"}) {
		t.Errorf("stopped in the order %v", order)
	}
}

func TestATouchReloads(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "current", "tmp", "restart.txt")
	for _, release := range []string{"1", "2"} {
		if err := os.MkdirAll(filepath.Join(root, release), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(release string) {
		fresh := filepath.Join(root, "fresh")
		err := errors.Join(os.Symlink(release, fresh), os.Rename(fresh, filepath.Join(root, "current")))
		if err != nil {
			t.Fatal(err)
		}
	}
	link("1") // and no tmp in it yet
	w := openMultiApp(t, named("shop", func(a *config.App) {
		a.Watch = config.Watch{Files: []string{file}, Debounce: 20 * time.Millisecond}
	}))
	w.untilState("shop", api.Running)
	generation := 1
	reloads := func(how string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		generation++
		w.until("reloaded by "+how, func(st api.AppStatus) bool { return st.Generation == generation && st.State == api.Running })
	}
	touch := func() error { return os.WriteFile(file, nil, 0o644) }
	reloads("a file in a new directory", func() error {
		return errors.Join(os.Mkdir(filepath.Dir(file), 0o755), touch())
	})
	reloads("a touch", func() error { return os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)) })
	reloads("an editor's rename", func() error {
		fresh := file + ".new"
		return errors.Join(os.WriteFile(fresh, nil, 0o644), os.Rename(fresh, file))
	})
	link("2") // the file is gone with it: no touch
	reloads("a file in the next release", func() error {
		return errors.Join(os.Mkdir(filepath.Dir(file), 0o755), touch())
	})
	w.edit("shop", func(a *config.App) { a.Watch = config.Watch{} })
	w.wantApplied("shop:live")
	if err := touch(); err != nil {
		t.Fatal(err)
	}
	w.want(w.do(api.Reload), api.ExitOK) // by hand; the touch has not caused another one
	if st := w.status(); st.Generation != generation+1 {
		t.Errorf("generation %d, want %d", st.Generation, generation+1)
	}
}

// A change of a file that a pattern or a directory means, or a new one, reloads the app; what
// Python writes while the app starts does not.
func TestPatternsAndDirectoriesReload(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := func(name string) string { return filepath.Join(root, name) }
	write := func(name string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(path(name)), 0o755), os.WriteFile(path(name), []byte(name), 0o644))
	}
	if err := errors.Join(write("shop.py"), write("templates/base.html")); err != nil {
		t.Fatal(err)
	}
	w := openMultiApp(t, named("shop", func(a *config.App) {
		a.Watch = config.Watch{Files: []string{path("*.py"), path("templates"), path("lib/**/*.py")}, Debounce: 20 * time.Millisecond}
	}))
	w.untilState("shop", api.Running)
	generation := 1
	for _, change := range []struct {
		how string
		do  func() error
	}{
		{"a change", func() error { return os.Chtimes(path("shop.py"), time.Time{}, time.Now().Add(time.Second)) }},
		{"a new file", func() error { return write("new.py") }},
		{"a new file in a directory", func() error { return write("templates/new.html") }},
		{"a new file in a new directory", func() error { return write("templates/admin/new.html") }},
		{"a directory that was not there", func() error { return write("lib/deep/er/new.py") }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		generation++
		w.until("reloaded by "+change.how, func(st api.AppStatus) bool { return st.Generation == generation && st.State == api.Running })
	}
	if err := errors.Join(write("__pycache__/shop.pyc"), write("templates/.base.html.swp"), write("notes.txt"), os.Remove(path("new.py"))); err != nil {
		t.Fatal(err)
	}
	if err := write("shop.py"); err != nil {
		t.Fatal(err)
	}
	generation++
	w.until("reloaded once more", func(st api.AppStatus) bool { return st.Generation == generation && st.State == api.Running })
	w.want(w.do(api.Reload), api.ExitOK)
	if st := w.status(); st.Generation != generation+1 {
		t.Errorf("generation %d, want %d", st.Generation, generation+1)
	}
}
