package remote

import (
	"os"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newTestPage(t *testing.T) *Page {
	t.Helper()
	p, err := NewPage()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mapAgain maps the page anew, as another process does.
func mapAgain(t *testing.T, p *Page) *Page {
	t.Helper()
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(p.File().Fd())), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := MapPage(f)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// count gives an app these numbers, as a server does.
func count(t *testing.T, p *Page, app AppID, requests, answered, inFlight, held int) {
	t.Helper()
	g, err := p.obtain(app)
	if err != nil {
		t.Fatal(err)
	}
	g.totals.Add(Counters{Requests: uint64(requests), Answered: uint64(answered)}, Metrics{})
	p.obtainTarget(ID{app, 3}).gauges.InFlight.Store(int64(inFlight))
	g.queue.Held.Store(int64(held))
}

func TestAnotherMappingSeesTheNumbers(t *testing.T) {
	p := newTestPage(t)
	other := mapAgain(t, p)
	count(t, p, 5, 10, 7, 2, 1)
	count(t, p, 6, 1, 1, 0, 0)
	if c := other.Counters(5); c.Requests != 10 || c.Answered != 7 {
		t.Errorf("%+v", c)
	}
	if s, u := other.State(5), other.Use(ID{5, 3}); s.Held != 1 || u.InFlight != 2 {
		t.Errorf("%+v, %+v", s, u)
	}
	p.find(5).target(3).gauges.SetHeard()
	if id := (ID{5, 3}); !other.Heard(id) || other.Heard(id) {
		t.Error("heard is not told once")
	}
	if other.find(7) != nil {
		t.Error("there is an app 7")
	}
}

// The requests that were under way in a relay that has died are lost, and counted once; nothing that
// was counted before is lost.
func TestTheDeathOfARelayBooksWhatWasUnderWayAsCut(t *testing.T) {
	p := newTestPage(t)
	count(t, p, 5, 10, 7, 2, 1)
	count(t, p, 6, 4, 4, 0, 0)
	supervisors := mapAgain(t, p)
	if lost := supervisors.CutUnderWay(); lost != 3 {
		t.Errorf("%d lost, want 3", lost)
	}
	if lost := supervisors.CutUnderWay(); lost != 0 {
		t.Errorf("%d lost twice", lost)
	}
	c := supervisors.Counters(5)
	if c.Requests != 10 || c.Answered != 7 || c.Cut != 3 {
		t.Errorf("%+v", c)
	}
	if s, u := supervisors.State(5), supervisors.Use(ID{5, 3}); s != (State{}) || u != (Use{}) {
		t.Errorf("%+v, %+v", s, u)
	}
	next := NewLocal(LocalOptions{Page: p}) // goes on counting
	if _, err := next.Set(t.Context(), Set{App: 5, Version: 1}); err != nil {
		t.Fatal(err)
	}
	if got := next.Counters(5); got != c {
		t.Errorf("%+v, before %+v", got, c)
	}
}

// A process that shrank the memfd would kill the supervisor with SIGBUS.
func TestThePageCannotBeMadeSmaller(t *testing.T) {
	p := newTestPage(t)
	for _, size := range []int64{0, pageSize - 1, pageSize + 1} {
		if err := unix.Ftruncate(int(p.File().Fd()), size); err != unix.EPERM {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestAPageOfAnotherLayoutIsRefused(t *testing.T) {
	p := newTestPage(t)
	p.header.version.Store(pageVersion + 1)
	fd, err := unix.Dup(int(p.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MapPage(os.NewFile(uintptr(fd), "")); err == nil {
		t.Error("another version is accepted")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MapPage(f); err == nil {
		t.Error("an empty file is accepted")
	}
}

// What two writers change is never in one cache line.
func TestEachPartHasCacheLinesOfItsOwn(t *testing.T) {
	var g group
	for name, offset := range map[string]uintptr{"totals": unsafe.Offsetof(g.totals), "queue": unsafe.Offsetof(g.queue), "targets": unsafe.Offsetof(g.targets),
		"a target": unsafe.Sizeof(g.targets[0]), "reserved": unsafe.Offsetof(g.reserved)} {
		if offset%cacheLine != 0 {
			t.Errorf("%s at %d", name, offset)
		}
	}
}

func TestAFreedGroupIsUsedAgainFromZero(t *testing.T) {
	p := newPrivatePage()
	for app := AppID(1); app <= pageApps; app++ {
		if _, err := p.obtain(app); err != nil {
			t.Fatalf("app %d: %v", app, err)
		}
	}
	if _, err := p.obtain(pageApps + 1); err != errPageFull {
		t.Errorf("one too many: %v", err)
	}
	count(t, p, 9, 5, 4, 1, 1)
	p.Forget(9)
	count(t, p, pageApps+1, 1, 0, 0, 0)
	if c := p.Counters(pageApps + 1); c != (Counters{Requests: 1}) {
		t.Errorf("%+v", c)
	}
	if p.find(9) != nil {
		t.Error("app 9 is still there")
	}
}

// An app may have any number of generations that drain.
func TestAnAppHasTheNumbersOfAllItsGenerations(t *testing.T) {
	p := newPrivatePage()
	count(t, p, 8, 1, 1, 0, 0)
	count(t, p, 5, 1, 1, 0, 0)
	p.Forget(8) // a further group comes before the first one
	const generations = 3*pageTargets + 1
	for n := range generations {
		p.obtainTarget(ID{5, n + 1}).gauges.InFlight.Store(int64(n + 1))
	}
	count(t, p, 6, 2, 1, 1, 0)
	for n := range generations {
		if u := p.Use(ID{5, n + 1}); u.InFlight != n+1 {
			t.Errorf("generation %d: %+v", n+1, u)
		}
	}
	if c := p.Counters(5); c.Requests != 1 {
		t.Errorf("%+v", c)
	}
	p.targetOf(ID{5, 40}).free()
	p.obtainTarget(ID{5, 100})
	p.Retain(func(app AppID) bool { return app == 6 })
	if u := p.Use(ID{5, 1}); u != (Use{}) || p.find(5) != nil {
		t.Errorf("%+v", u)
	}
	if c := p.Counters(6); c.Requests != 2 {
		t.Errorf("%+v", c)
	}
	for app := AppID(10); app < 10+pageApps-1; app++ { // every group but that of app 6 is free
		if _, err := p.obtain(app); err != nil {
			t.Fatal(err)
		}
	}
	if p.obtainTarget(ID{6, 1}) == nil {
		t.Error("no room in a group that has some")
	}
	for n := range pageTargets {
		p.obtainTarget(ID{6, n + 1})
	}
	if p.obtainTarget(ID{6, 1000}) != nil {
		t.Error("a full page has room")
	}
}
