package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// A world is what outlives a supervisor: the processes, the relay, and the descriptors and the record that
// the monitor keeps. All of it is simulated; the supervisors are real. Its clock is that of a synctest
// bubble.
type world struct {
	t         *testing.T
	seed      uint64
	random    *rand.Rand // of the goroutine of the test
	dir       string
	file      *config.File // in force at first
	path      string       // of the configuration; empty: it does not change
	names     []string     // of all apps that there may be
	addresses []any        // of a configuration that changes
	socket    *os.File     // the public socket of all apps, to which nothing connects; nil: each has its own
	log       *simLog

	mu       sync.Mutex    // guards what follows, but for what has locks of its own
	life     *life         // the supervisor that lives; nil: none does
	changed  chan struct{} // closed when that is another one
	lives    []*life
	children map[string]*child // by token: those that nothing has collected
	forked   int
	store    map[string]*os.File
	record   *simFile
	relay    *simRelay
	calm     bool          // the apps work,
	broken   bool          // but for those that are started now
	boot     time.Duration // of them until they answer
	faults   []string
	ends     map[string]int // of requests, by what they end in
	trace    []string       // calls of the supervisors
}

// A life is one supervisor. It dies at one of its calls: from then on nothing that it does has an effect,
// and its contexts end, so that its goroutines do.
type life struct {
	world  *world
	number int
	file   *config.File // in force when it starts
	state  string       // directory of its state
	dead   context.Context
	die    context.CancelFunc
	calls  int  // guarded by world.mu
	dies   int  // number of the call at which it dies; 0: it does not
	bereft int  // number of the call at which the relay dies; 0: it does not
	bare   bool // it restores no process, because several before have died while they restored
	up     chan struct{}
	ended  chan struct{}
	s      *Supervisor // once up is closed; nil: it has died before
	// What each relay gets; guarded by world.mu.
	sets  map[remote.AppID]remote.Set
	doors map[uint64]remote.AppID
}

var errDead = errors.New("the supervisor has died")

// do makes a call of the supervisor, unless it is dead.
func (l *life) do(what string, call func()) error {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.dead.Err() != nil {
		return errDead
	}
	l.calls++
	w.noteLocked("%d.%d %s", l.number, l.calls, what)
	if l.calls == l.dies {
		w.killLocked()
		return errDead
	}
	if l.calls == l.bereft {
		w.relayDiesLocked(100 * time.Millisecond)
	}
	call()
	return nil
}

// killLocked is the death of the supervisor that lives. The next one has its state as it is now.
func (w *world) killLocked() {
	l := w.life
	if l == nil {
		return
	}
	w.noteLocked("%d dies", l.number)
	w.life = nil
	w.changedLocked()
	l.die()
	if err := copyState(w.stateDir(l.number+1), l.state); err != nil {
		w.faultLocked("copy of the state: %v", err)
	}
}

// changedLocked wakes those that wait for another supervisor. w.mu must be held.
func (w *world) changedLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// living returns the supervisor that lives, once there is one that is up.
func (w *world) living() *life {
	for {
		w.mu.Lock()
		l, changed := w.life, w.changed
		w.mu.Unlock()
		if l != nil && isClosed(l.up) && l.s != nil {
			return l
		}
		<-changed
	}
}

// copyState copies the state. Files that are not whole yet have another name.
func copyState(to, from string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"sim.json", "sim.history"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), text, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *world) stateDir(number int) string {
	return filepath.Join(w.dir, fmt.Sprint("state", number))
}

// noteLocked keeps what was called last. w.mu must be held.
func (w *world) noteLocked(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%s %s", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...)))
}

// faultLocked says that a promise was broken. w.mu must be held.
func (w *world) faultLocked(format string, args ...any) {
	w.noteLocked("FAULT "+format, args...)
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultLocked(format, args...)
}

// newWorld returns a world without a supervisor. It must be called in a bubble.
func newWorld(t *testing.T, seed uint64, socket *os.File, apps ...*config.App) *world {
	dir, err := os.MkdirTemp("/dev/shm", "tidesim") // in memory: the history is synced
	if err != nil {
		dir, err = os.MkdirTemp("", "tidesim")
	}
	if err != nil {
		t.Fatal(err)
	}
	apps = slices.Clone(apps)
	for i, cfg := range apps {
		if cfg.Name == "web" {
			deployed := *cfg
			deployed.Directory = filepath.Join(dir, "current")
			apps[i] = &deployed
		}
	}
	w := &world{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), dir: dir, socket: socket, log: &simLog{}, changed: make(chan struct{}), boot: 100 * time.Millisecond, ends: map[string]int{},
		file:     &config.File{Apps: apps, Daemon: config.DefaultDaemon()},
		children: map[string]*child{relayToken: {token: relayToken, alive: true, ended: make(chan struct{})}},
		store:    map[string]*os.File{}, record: &simFile{slots: map[int64][]byte{}}}
	for _, cfg := range apps {
		w.names = append(w.names, cfg.Name)
	}
	w.relay = newSimRelay(w)
	for _, name := range []string{w.stateDir(1), w.release(1), w.release(2), w.release(3)} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.deploy(1)
	return w
}

// release is the directory of a release of the app "web".
func (w *world) release(number int) string {
	return filepath.Join(w.dir, fmt.Sprint("release", number))
}

// deploy has the symlink lead to a release.
func (w *world) deploy(number int) {
	link := filepath.Join(w.dir, "current")
	_ = os.Remove(link)
	if err := os.Symlink(fmt.Sprint("release", number), link); err != nil {
		w.fault("%v", err)
	}
}

// deployed is the directory to which the symlink leads.
func (w *world) deployed() string {
	to, err := os.Readlink(filepath.Join(w.dir, "current"))
	if err != nil {
		w.fault("%v", err)
	}
	return filepath.Join(w.dir, to)
}

// relayToken is that of the process of the relay.
const relayToken = "relay"

// begin starts a supervisor that dies at one of its calls; 0: it does not. It returns when that is up, or
// dead.
func (w *world) begin(dies int) *life {
	l := w.newLife(dies)
	go l.run()
	<-l.up
	return l
}

func (w *world) newLife(dies int) *life {
	l := &life{world: w, number: len(w.lives) + 1, dies: dies, up: make(chan struct{}), ended: make(chan struct{}),
		sets: map[remote.AppID]remote.Set{}, doors: map[uint64]remote.AppID{}}
	l.state = w.stateDir(l.number)
	for _, former := range w.lives { // what it has open is closed, as by the end of a process
		<-former.ended
	}
	l.dead, l.die = context.WithCancel(context.Background())
	w.mu.Lock()
	w.life, w.lives = l, append(w.lives, l)
	w.mu.Unlock()
	return l
}

// run is what the process of a supervisor does.
func (l *life) run() {
	defer close(l.ended)
	w := l.world
	options, slots, err := l.restore()
	var s *Supervisor
	if err == nil {
		s, err = New(l.file, options)
	}
	if err == nil {
		err = slots.EndRestoration()
	}
	if options.Handoff != nil {
		for _, f := range options.Handoff.Files {
			f.Close()
		}
	}
	l.s = s
	if l.dead.Err() != nil {
		l.s = nil
	} else if err != nil {
		w.fault("supervisor %d does not start: %v", l.number, err)
	}
	close(l.up)
	w.mu.Lock()
	w.changedLocked()
	w.mu.Unlock()
	if s == nil {
		return
	}
	defer context.AfterFunc(l.dead, func() { s.Shutdown(true) })()
	if err := s.keep(l.dead); err != nil && l.dead.Err() == nil {
		w.fault("supervisor %d: %v", l.number, err)
	}
	s.close()
}

// restore does what the daemon does before it makes a Supervisor.
func (l *life) restore() (o Options, slots *handoff.Slots, err error) {
	w := l.world
	o = Options{Logger: hclog.New(&hclog.LoggerOptions{Output: lifeLog{l}, Level: hclog.Debug, Name: fmt.Sprint(l.number)}), Version: "test", Name: "sim",
		RuntimeDir: filepath.Join(w.dir, "run"), StateDir: l.state,
		Relay: simRelayOf{w.relay, l}, System: simSystem{l}, Store: simStore{l}, Relink: l.relink, FreeMemory: func() uint64 { return 0 }}
	l.file = w.file
	if w.socket != nil {
		o.Inherited = map[string][]*os.File{"web": {w.socket}}
	}
	if w.path != "" {
		o.Load = func() (*config.File, error) { return config.Load(w.path) }
	}
	slots, record, err := handoff.OpenRecord(simRecord{l})
	if err != nil {
		return o, slots, err
	}
	first := &handoff.Record{Version: handoff.RecordVersion, Relays: []handoff.RelayRecord{{Number: 1, Tree: process.Record{Token: relayToken}}}}
	if record != nil {
		failures, err := slots.BeginRestoration()
		if err != nil {
			return o, slots, err
		}
		if failures >= 3 {
			l.bare, record = true, record.WithoutProcesses()
			record.Relays = first.Relays
		}
		first = record
	}
	first.Epoch = uint64(l.number)
	if o.Record, err = handoff.NewJournal(slots, first); err != nil || record == nil {
		return o, slots, err
	}
	left := &handoff.Restoration{Record: record, Files: map[string]*os.File{}, Outcome: "killed by SIGKILL"}
	var names []string
	var serving *handoff.RelayState
	if err := l.do("hello", func() {
		for _, c := range w.children {
			left.Children = append(left.Children, handoff.Child{Token: c.token, Pid: c.pid, StartTime: uint64(c.pid), Exited: !c.alive})
		}
		for name, f := range w.store {
			names = append(names, name)
			if left.Files[name], err = remote.DuplicateFile(f); err != nil {
				w.faultLocked("%s: %v", name, err)
			}
		}
		if w.relay.aliveLocked() {
			w.relay.takenOverLocked()
			described := w.relay.describeLocked()
			left.Relay, serving = &described, handoff.StateOf(described)
		} else {
			w.relay.renewLocked(l)
		}
	}); err != nil {
		return o, slots, err
	}
	if f, err := left.Configuration(record.Daemon.Configuration); w.path != "" && (err != nil || f == nil && record.Daemon.Configuration != "") {
		w.fault("the configuration in force: %v", err)
	} else if w.path != "" && f != nil {
		l.file = f
	}
	left.Plan = handoff.Restore(record, left.Children, names, serving)
	o.Handoff = left.State()
	for _, name := range left.Plan.Drop {
		left.Files[name].Close()
		delete(left.Files, name)
	}
	_ = o.Store.Drop(context.Background(), left.Plan.Drop...)
	for _, token := range left.Plan.End {
		if token == relayToken {
			continue // of the relay that has died; the next one has its token
		}
		l.end(token)
	}
	return o, slots, nil
}

// relink is that of Options.
func (l *life) relink(path, from, to string) (err error) {
	if dead := l.do(join("relink", from, to), func() { err = safepath.Relink(path, from, to) }); dead != nil {
		return dead
	}
	return err
}

// end ends a process that nothing needs.
func (l *life) end(token string) {
	w := l.world
	_ = l.do("end "+token, func() {
		if c := w.children[token]; c != nil {
			if !l.bare {
				c.mayEndLocked()
			}
			c.exitLocked(killedOutcome)
			delete(w.children, token)
		}
	})
}

// simFile is the memory of a record.
type simFile struct{ slots map[int64][]byte }

// simRecord is the record as one supervisor has it.
type simRecord struct{ life *life }

const simSlot = 128 << 20

func (r simRecord) ReadAt(p []byte, at int64) (n int, err error) {
	w := r.life.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot := w.record.slots[at/simSlot]; at%simSlot < int64(len(slot)) {
		n = copy(p, slot[at%simSlot:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r simRecord) WriteAt(p []byte, at int64) (int, error) {
	err := r.life.do(fmt.Sprintf("write of %d bytes of the record", len(p)), func() {
		slots, i := r.life.world.record.slots, int(at%simSlot)
		if end := i + len(p); end > len(slots[at/simSlot]) {
			slots[at/simSlot] = append(slots[at/simSlot], make([]byte, end-len(slots[at/simSlot]))...)
		}
		copy(slots[at/simSlot][i:], p)
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// simStore is a handoff.Store.
type simStore struct{ life *life }

func (s simStore) Put(_ context.Context, name string, f *os.File) error {
	duplicate, err := remote.DuplicateFile(f)
	if err != nil {
		return err
	}
	former := duplicate
	err = s.life.do("put "+name, func() {
		former = s.life.world.store[name]
		s.life.world.store[name] = duplicate
	})
	former.Close() // of nil: an error
	return err
}

func (s simStore) Drop(_ context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return s.life.do("drop "+strings.Join(names, " "), func() {
		for _, name := range names {
			s.life.world.store[name].Close()
			delete(s.life.world.store, name)
		}
	})
}

// lifeLog is the log of one supervisor: the dead say nothing.
type lifeLog struct{ life *life }

func (l lifeLog) Write(p []byte) (int, error) {
	if l.life.dead.Err() != nil {
		return len(p), nil
	}
	return l.life.world.log.Write(p)
}

// simLog keeps the last lines of the supervisors.
type simLog struct {
	mu   sync.Mutex
	b    bytes.Buffer
	ends map[string]int // lines that say the end of something, by what that is
}

// logEnd is a line that says the end of an operation, an apply or a hold.
var logEnd = regexp.MustCompile(`operation finished: app=(\w+) verb=(\w+)|(apply) (?:finished|failed)|(hold) ended: app=(\w+)`)

func (l *simLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > 1<<20 {
		l.b.Next(1 << 19)
	}
	if m := logEnd.FindSubmatch(p); m != nil {
		if l.ends == nil {
			l.ends = map[string]int{}
		}
		l.ends[string(bytes.Join(slices.DeleteFunc(m[1:], func(b []byte) bool { return len(b) == 0 }), []byte(" ")))]++
	}
	return l.b.Write(p)
}

// close ends the world: the supervisor that lives is shut down, and must leave nothing behind.
func (w *world) close() {
	w.mu.Lock()
	l := w.life
	w.mu.Unlock()
	if l != nil {
		l.s.Shutdown(false)
		<-l.ended
		w.mu.Lock()
		w.life = nil
		l.die()
		if left := slices.DeleteFunc(slices.Sorted(maps.Keys(w.children)), func(token string) bool { return token == relayToken }); len(left) > 0 {
			w.faultLocked("processes after the shutdown: %v", left)
		}
		if len(w.relay.apps) > 0 {
			w.faultLocked("apps of the relay after the shutdown: %v", slices.Sorted(maps.Keys(w.relay.apps)))
		}
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(w.store)), func(name string) bool { return name == StateLockName })
		if len(names) > 0 {
			w.faultLocked("descriptors after the shutdown: %v", names)
		}
		w.mu.Unlock()
	}
	for _, l := range w.lives {
		<-l.ended
	}
	for _, f := range w.store {
		f.Close()
	}
	synctest.Wait()
	os.RemoveAll(w.dir)
	w.report()
}

// report fails the test if a promise was broken.
func (w *world) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) == 0 {
		return
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	lines, trace := strings.Split(w.log.b.String(), "\n"), w.trace
	if *simSeed == 0 {
		first := slices.IndexFunc(trace, func(line string) bool { return strings.Contains(line, "FAULT") })
		lines, trace = lines[max(0, len(lines)-50):], trace[max(0, first-300):min(len(trace), first+20)]
	}
	w.t.Errorf("-seed %d: %d faults:\n%s\ncalls:\n%s\nlog:\n%s", w.seed, len(w.faults), strings.Join(w.faults[:min(10, len(w.faults))], "\n"),
		strings.Join(trace, "\n"), strings.Join(lines, "\n"))
}
