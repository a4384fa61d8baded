package remote

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tideover/proxy"
	"tideover/proxy/gate"
)

const (
	// pageApps is how many apps a Page has room for. Memory is taken only for those that exist.
	pageApps = 2048
	// pageTargets is how many generations have their numbers in one group. An app with more of them
	// takes another group.
	pageTargets = 16
	// moreTargets marks such a further group in pageHeader.apps.
	moreTargets AppID = 1 << 63
	// groupSize is the size of an app's group: a page of memory, so that no two apps share a cache
	// line.
	groupSize = 4096
	// cacheLine is what two writers must not share.
	cacheLine = 64
	// totalsLines is how many cache lines the totals of an app have.
	totalsLines = 30
	// pageVersion is that of the layout. Fields are only added, into what is reserved.
	pageVersion = 2
)

// A Page is the memory in which a relay keeps the counters and gauges of its apps, and the
// supervisor reads them without asking it. It survives the relay. A reader must believe no
// number more than the relay that writes it.
//
// The relay alone writes to it while it lives. After its death the supervisor does: CutUnderWay,
// Retain and Forget.
type Page struct {
	file   *os.File // of NewPage; else nil
	header *pageHeader
	groups []group
	taking sync.Mutex // held while a group, or a part of one, is taken
}

// pageHeader is at the beginning. A group is not looked at before its app is in the list: to read
// memory of a memfd takes it, too.
type pageHeader struct {
	version  atomic.Uint64
	limit    atomic.Int64  // of client connections
	used     atomic.Uint64 // all that follow are free
	reserved [groupSize - 3*8]byte
	apps     [pageApps]atomic.Uint64 // AppID of each group, perhaps with moreTargets; 0: free
}

// group has the numbers of one app. Each part begins at a cache line of its own.
type group struct {
	totals   proxy.Totals
	_        [totalsLines*cacheLine - unsafe.Sizeof(proxy.Totals{})]byte
	queue    gate.QueueGauges
	_        [cacheLine - unsafe.Sizeof(gate.QueueGauges{})]byte
	targets  [pageTargets]targetGroup
	reserved [groupSize - (totalsLines+1+pageTargets)*cacheLine]byte
}

// targetGroup has the numbers of one generation.
type targetGroup struct {
	generation atomic.Uint64 // 0: free
	gauges     gate.TargetGauges
	_          [cacheLine - 8 - unsafe.Sizeof(gate.TargetGauges{})]byte
}

// pageSize is that of the whole Page.
const pageSize = int64(unsafe.Sizeof(pageHeader{})) + groupSize*pageApps

var (
	_ [groupSize - unsafe.Sizeof(group{})]byte
	_ [unsafe.Sizeof(group{}) - groupSize]byte
	_ [0 - unsafe.Sizeof(pageHeader{})%groupSize]byte
)

var errPageFull = errors.New("the page of counters is full")

// NewPage returns a Page in a memfd, for another process. Its size is sealed: a process that made it
// smaller would kill every other one that reads it (SIGBUS).
func NewPage() (*Page, error) {
	fd, err := unix.MemfdCreate("tideover counters", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "counters")
	err = f.Truncate(pageSize)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot make the page of counters: %w", err)
	}
	p, err := mapFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	p.file = f
	return p, nil
}

// MapPage returns the Page in the memfd of another process, whose file it closes.
func MapPage(f *os.File) (*Page, error) {
	defer f.Close()
	return mapFile(f)
}

// OpenPage is MapPage for a supervisor: the Page has the file, which it keeps.
func OpenPage(f *os.File) (*Page, error) {
	p, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	p.file = f
	return p, nil
}

func mapFile(f *os.File) (*Page, error) {
	info, err := f.Stat()
	if err == nil && info.Size() != pageSize {
		err = fmt.Errorf("it has %d bytes, want %d", info.Size(), pageSize)
	}
	var p *Page
	if err == nil {
		p, err = mapPage(int(f.Fd()), unix.MAP_SHARED)
	}
	if err == nil && !p.header.version.CompareAndSwap(0, pageVersion) && p.header.version.Load() != pageVersion {
		err = fmt.Errorf("it has version %d, want %d", p.header.version.Load(), pageVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the page of counters: %w", err)
	}
	return p, nil
}

// newPrivatePage returns a Page of this process alone. It is never unmapped: a reader may come at any
// time.
func newPrivatePage() *Page {
	p, err := mapPage(-1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil { // of address space, which the heap may have
		p = &Page{header: &pageHeader{}, groups: make([]group, pageApps)}
	}
	return p
}

func mapPage(fd, flags int) (*Page, error) {
	memory, err := unix.Mmap(fd, 0, int(pageSize), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Page{
		header: (*pageHeader)(unsafe.Pointer(&memory[0])),
		groups: unsafe.Slice((*group)(unsafe.Pointer(&memory[unsafe.Sizeof(pageHeader{})])), pageApps),
	}, nil
}

// File is the memfd of NewPage, for the other process. It stays the Page's own.
func (p *Page) File() *os.File { return p.file }

// find returns the group of an app; nil: it has none.
func (p *Page) find(app AppID) *group {
	if i := p.index(app); i >= 0 {
		return &p.groups[i]
	}
	return nil
}

// index returns the index of the group of an app; -1: it has none.
func (p *Page) index(app AppID) int {
	for i := range min(p.header.used.Load(), pageApps) {
		if AppID(p.header.apps[i].Load()) == app && app != 0 {
			return int(i)
		}
	}
	return -1
}

// targetGroups are all groups that have generations of an app.
func (p *Page) targetGroups(app AppID) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		for i := range min(p.header.used.Load(), pageApps) {
			if of := AppID(p.header.apps[i].Load()); app != 0 && of&^moreTargets == app && !yield(&p.groups[i]) {
				return
			}
		}
	}
}

// obtain returns the group of an app, and takes a free one if need be. Only the relay calls it.
func (p *Page) obtain(app AppID) (*group, error) {
	p.taking.Lock()
	defer p.taking.Unlock()
	if g := p.find(app); g != nil {
		return g, nil
	}
	return p.takeLocked(app)
}

// takeLocked takes a free group. p.taking must be held.
func (p *Page) takeLocked(app AppID) (*group, error) {
	for i := range p.header.apps {
		if p.header.apps[i].Load() == 0 {
			p.header.apps[i].Store(uint64(app))
			p.header.used.Store(max(p.header.used.Load(), uint64(i)+1))
			return &p.groups[i], nil
		}
	}
	return nil, errPageFull
}

// Forget clears the groups of an app, for other ones. Nothing may count in them any more.
func (p *Page) Forget(app AppID) {
	p.taking.Lock()
	defer p.taking.Unlock()
	for i := range min(p.header.used.Load(), pageApps) {
		if of := AppID(p.header.apps[i].Load()); app == 0 || of&^moreTargets != app {
			continue
		}
		p.groups[i].clear()
		p.groups[i].totals.Clear()
		p.header.apps[i].Store(0)
	}
}

// clear sets what is now to 0.
func (g *group) clear() {
	g.queue.Held.Store(0)
	for i := range g.targets {
		g.targets[i].free()
	}
}

// target returns the numbers of a generation; nil: it has none.
func (g *group) target(generation int) *targetGroup {
	for i := range g.targets {
		if g.targets[i].generation.Load() == uint64(generation) {
			return &g.targets[i]
		}
	}
	return nil
}

// obtainTarget returns the numbers of a generation of an app that has a group, and takes free ones if
// need be. nil: the page is full. Only the relay calls it.
func (p *Page) obtainTarget(id ID) *targetGroup {
	p.taking.Lock()
	defer p.taking.Unlock()
	if t := p.targetOf(id); t != nil {
		return t
	}
	var free *targetGroup
	for g := range p.targetGroups(id.App) {
		if free = g.target(0); free != nil {
			break
		}
	}
	if free == nil {
		g, err := p.takeLocked(id.App | moreTargets)
		if err != nil {
			return nil
		}
		free = &g.targets[0]
	}
	free.generation.Store(uint64(id.Generation))
	return free
}

func (t *targetGroup) free() {
	t.gauges.InFlight.Store(0)
	t.gauges.Tunnels.Store(0)
	t.gauges.Heard.Store(0)
	t.generation.Store(0)
}

// CutUnderWay counts all requests that were in flight or held in a relay as cut (Counters.Cut),
// because it has died, and returns their number. It must be called when no process of that relay
// exists, before the next one begins.
func (p *Page) CutUnderWay() (lost int) {
	for i := range p.groups[:min(p.header.used.Load(), pageApps)] {
		lost += p.groups[i].totals.CutUnderWay()
		p.groups[i].clear()
	}
	return lost
}

// Retain frees the groups of the apps that are not among these. It must be called when no relay has
// an app: one that died may have left groups of apps that no relay will have again.
func (p *Page) Retain(apps func(AppID) bool) {
	for i := range p.header.apps[:min(p.header.used.Load(), pageApps)] {
		if app := AppID(p.header.apps[i].Load()) &^ moreTargets; app != 0 && !apps(app) {
			p.Forget(app)
		}
	}
}

// Clients reads how many clients are connected, and may be.
func (p *Page) Clients() Clients {
	c := Clients{Limit: int(p.header.limit.Load())}
	for i := range p.groups[:min(p.header.used.Load(), pageApps)] {
		c.Open += p.groups[i].totals.Open()
	}
	return c
}

// Counters reads the totals of an app.
func (p *Page) Counters(app AppID) Counters {
	g := p.find(app)
	if g == nil {
		return Counters{}
	}
	return g.totals.Snapshot()
}

// Metrics reads the totals of an app in detail.
func (p *Page) Metrics(app AppID) Metrics {
	if g := p.find(app); g != nil {
		return g.totals.Metrics()
	}
	return Metrics{}
}

// State reads what an app is in the middle of.
func (p *Page) State(app AppID) State {
	g := p.find(app)
	if g == nil {
		return State{}
	}
	return State{Held: int(g.queue.Held.Load()), Oldest: g.queue.Oldest(), Connections: g.totals.Open(), Sending: g.totals.Sending()}
}

// Use reads what a generation is in use for.
func (p *Page) Use(id ID) Use {
	t := p.targetOf(id)
	if t == nil {
		return Use{}
	}
	return Use{InFlight: int(t.gauges.InFlight.Load()), Tunnels: int(t.gauges.Tunnels.Load())}
}

// Heard is that of Relay.
func (p *Page) Heard(id ID) bool {
	t := p.targetOf(id)
	return t != nil && t.gauges.TakeHeard()
}

// targetOf returns the numbers of a generation; nil: it has none.
func (p *Page) targetOf(id ID) *targetGroup {
	if id.Generation == 0 {
		return nil
	}
	for g := range p.targetGroups(id.App) {
		if t := g.target(id.Generation); t != nil {
			return t
		}
	}
	return nil
}
