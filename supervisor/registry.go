package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tideover/listener"
	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
	"tideover/supervisor/safepath"
)

// registry has the apps of the daemon. It is read without a lock. New, Run and
// Apply change it, one at a time.
type registry struct {
	shared   shared
	changing sync.Mutex               // held during a change of the registry
	entries  atomic.Pointer[[]*entry] // in the order of the configuration
	running  sync.WaitGroup           // the apps' goroutines
	made     atomic.Uint64            // number of the app that was made last, for the relay
	// restored are the apps of a supervisor that has died, until they are made again.
	restored map[string]*handoff.RestoredApp
}

func newRegistry(shared shared) *registry {
	r := &registry{shared: shared}
	r.entries.Store(&[]*entry{})
	return r
}

// entry is an app and its public sockets.
type entry struct {
	app       *App
	listeners []*publicListener
	leave     context.CancelFunc // ends the app; nil: it was not started
	// replaced says that another app of its name comes. Its record has its sockets until that of the other app does.
	replaced bool
	left     bool // it accepts no more from the sockets of a service manager
}

// all returns the entries in the order of the configuration. The slice is never
// changed.
func (r *registry) all() []*entry { return *r.entries.Load() }

// add makes an app without public sockets, at the start of the daemon.
func (r *registry) add(cfg *config.App) *entry {
	restored := r.restored[cfg.Name]
	delete(r.restored, cfg.Name)
	e := r.newEntry(cfg, restored)
	e.app.journal.begin()
	entries := append(slices.Clone(r.all()), e)
	r.entries.Store(&entries)
	return e
}

// openListeners opens the public sockets of an app at the start of the daemon.
func (r *registry) openListeners(e *entry, cfg *config.App) error {
	for _, address := range cfg.Listen {
		l, err := r.open(cfg, address)
		if listener.IsInUse(err) && AwaitOrphans(r.shared.hurry, r.shared.logger) {
			l, err = r.open(cfg, address)
		}
		if left := r.takeLeft(cfg, address, err); left != nil {
			l, err = left, nil
		}
		if err != nil {
			return err
		}
		e.listeners = append(e.listeners, l)
	}
	return nil
}

// newEntry makes an app without public sockets. restored is what a supervisor that has died has left of it; nil: it is new,
// and not in the record yet.
func (r *registry) newEntry(cfg *config.App, restored *handoff.RestoredApp) *entry {
	var id remote.AppID
	if restored != nil {
		id = restored.Record.ID
	} else {
		id = remote.AppID(r.made.Add(1))
	}
	return &entry{app: newApp(r.shared, id, cfg, logs.New(r.shared.logOptions(cfg)), restored)}
}

// open opens one of an app's public sockets.
func (r *registry) open(cfg *config.App, address string) (*publicListener, error) {
	sockets, passed, err := r.shared.listeners.open(address, socketOptions(cfg))
	if err != nil {
		return nil, &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("app %s: %v", cfg.Name, err), Cause: err}
	}
	return &publicListener{address: address, passed: passed, sockets: sockets}, nil
}

// find returns the entry of an app.
func (r *registry) find(name string) (*entry, *api.Error) {
	a, err := r.app(name)
	if err != nil {
		return nil, err
	}
	entries := r.all()
	return entries[slices.IndexFunc(entries, func(e *entry) bool { return e.app == a })], nil
}

// start accepts connections for an app and starts it once its dependencies have
// started.
func (r *registry) start(e *entry, dependencies []<-chan struct{}) {
	for _, l := range e.listeners {
		l.serve(e.app)
	}
	r.run(e, dependencies)
}

// run starts an app once its dependencies have started.
func (r *registry) run(e *entry, dependencies []<-chan struct{}) {
	ctx, leave := context.WithCancel(context.Background())
	e.leave = leave
	r.running.Go(func() {
		defer leave()
		e.app.run(ctx, dependencies)
	})
}

// dependencies are the started channels of the apps after which e is started.
func (e *entry) dependencies(among []*entry) []<-chan struct{} {
	var started []<-chan struct{}
	for _, other := range among {
		if e.dependsOn(other) {
			started = append(started, other.app.started)
		}
	}
	return started
}

// dependsOn reports whether e is started after other, and stopped before it.
func (e *entry) dependsOn(other *entry) bool {
	return e != other && slices.ContainsFunc(e.settings().After, other.settings().Matches)
}

func (e *entry) settings() *config.App { return e.app.snapshot.Load().settings }

// idleLinger is how long idle connections of a front-end stay open for one last
// request once nothing is left to drain.
const idleLinger = time.Second

// stop ends apps and returns when nothing of them is left. An app is stopped before
// those it depends on. Public sockets are closed when the last process is gone:
// until then every request is answered.
func (r *registry) stop(leaving, among []*entry) { r.stopLeaving(leaving, among, false) }

// shutDown is stop of all apps when the daemon ends. The sockets of a service manager stay open then:
// what waits in their queues is for the next daemon.
func (r *registry) shutDown() { r.stopLeaving(r.all(), r.all(), true) }

// stopLeaving is stop. keptByManager says that the sockets of a service manager outlive the daemon.
func (r *registry) stopLeaving(leaving, among []*entry, keptByManager bool) {
	for _, e := range leaving {
		switch {
		case e.app.relay != nil:
			e.app.relay.closeAfterNextResponse()
		case e.app.direct != nil: // its processes accept until they end; nothing would answer later
			e.closeListeners(func(l *publicListener) bool { return !keptByManager || !l.passed })
		}
	}
	var stopping sync.WaitGroup
	for _, e := range leaving {
		stopping.Go(func() {
			for _, other := range among {
				if slices.Contains(leaving, other) && other.dependsOn(e) {
					<-other.app.closed
				}
			}
			if keptByManager {
				e.leavePassed()
			}
			sent, cancel := awake.WithTimeout(e.app.deadline.drains, e.settings().Drain.Timeout)
			defer cancel()
			e.leave()
			<-e.app.closed
			e.app.relay.await(sent, remote.Sent) // clients that read slowly what the app has finished
		})
	}
	stopping.Wait()
	linger, cancel := awake.WithTimeout(r.shared.hurry, idleLinger)
	defer cancel()
	for _, e := range leaving {
		stopping.Go(func() { e.end(linger) })
	}
	stopping.Wait()
}

// leavePassed has new connections of passed sockets wait in their queues. The app still answers what was
// accepted: each connection gets one last response until linger ends; then those without a request are closed,
// so that no later request is refused. It is called when the apps that depend on this one have ended, because
// their requests to it would wait as well.
func (e *entry) leavePassed() {
	if e.app.relay == nil {
		return // its processes accept
	}
	if e.closePassed(); !e.left {
		return
	}
	linger, cancel := awake.WithTimeout(e.app.deadline.drains, idleLinger)
	defer cancel()
	e.app.relay.await(linger, remote.Disconnected)
	if len(e.listeners) == 0 {
		e.app.relay.closeIdle()
	}
}

// closePassed stops accepting from the sockets of a service manager.
func (e *entry) closePassed() {
	before := len(e.listeners)
	e.closeListeners(func(l *publicListener) bool { return l.passed })
	e.left = e.left || len(e.listeners) < before
}

// end closes what an app has beside its processes: the public sockets first, in the
// same moment in which accepting ends, because the kernel resets what nothing
// accepts any more. Open connections get one last answer until linger ends.
func (e *entry) end(linger context.Context) {
	e.closeListeners(everyListener)
	e.app.relay.await(linger, remote.Disconnected)
	e.app.relay.remove()
	e.close()
	_ = e.app.history.Flush() // the record will not have the operations of the app; an error means that the disk does not answer
	if !e.replaced {
		e.forget()
	}
}

// forget takes the app out of the record.
func (e *entry) forget() {
	e.app.journal.end()
	e.app.configurations.forget(e.app.journal.key)
}

// closeListeners closes the public sockets that are chosen.
func (e *entry) closeListeners(chosen func(*publicListener) bool) {
	var left []*publicListener
	for _, l := range e.listeners {
		if chosen(l) {
			l.close()
		} else {
			left = append(left, l)
		}
	}
	e.listeners = left
}

func everyListener(*publicListener) bool { return true }

// close closes the public sockets and the log. It may be called twice.
func (e *entry) close() {
	e.closeListeners(everyListener)
	e.app.deadline.close()
	e.app.watcher.Set(e.app.name, config.Watch{}, safepath.Opener{})
	e.app.exit.remove(e.app.name)
	e.app.closeAccess()
	e.app.releaseAccess()
	if err := e.app.log.Close(); err != nil {
		e.app.logger.Warn("output lost", "app", e.app.name, "error", err)
	}
}

// names returns the names of all apps, in the order of the configuration.
func (r *registry) names() []string {
	var names []string
	for _, e := range r.all() {
		names = append(names, e.app.name)
	}
	return names
}

// app finds an app by its name. The empty name finds the only one there is.
func (r *registry) app(name string) (*App, *api.Error) {
	entries := r.all()
	if name == "" {
		if len(entries) == 1 {
			return entries[0].app, nil
		}
		return nil, api.Errorf(api.ExitNoSuchApp, "which app? there are %d: %s", len(entries), strings.Join(r.names(), ", "))
	}
	if i := slices.IndexFunc(entries, func(e *entry) bool { return e.app.name == name }); i >= 0 {
		return entries[i].app, nil
	}
	several := r.match(name)
	if len(several) == 1 {
		return several[0], nil
	}
	if len(several) > 0 {
		return nil, api.Errorf(api.ExitNoSuchApp, "%s means %d apps; one is wanted here", name, len(several))
	}
	return nil, r.noSuchApp(name)
}

// selectApps finds the apps that match any of the selectors, in the order of the
// configuration. Without a selector it finds all.
func (r *registry) selectApps(selectors []string) ([]*App, *api.Error) {
	if len(selectors) == 0 {
		selectors = []string{"all"}
	}
	wanted := map[*App]bool{}
	for _, selector := range selectors {
		matches := r.match(selector)
		if len(matches) == 0 && selector != "all" {
			return nil, r.noSuchApp(selector)
		}
		for _, a := range matches {
			wanted[a] = true
		}
	}
	var apps []*App
	for _, e := range r.all() {
		if wanted[e.app] {
			apps = append(apps, e.app)
		}
	}
	return apps, nil
}

// match finds the apps that one selector means: a name, the name that instances
// have in common, a label, or "all".
func (r *registry) match(selector string) []*App {
	var apps []*App
	for _, e := range r.all() {
		if e.settings().Matches(selector) {
			apps = append(apps, e.app)
		}
	}
	return apps
}

func (r *registry) noSuchApp(name string) *api.Error {
	return &api.Error{Exit: api.ExitNoSuchApp, Message: fmt.Sprintf("there is no app %q", name), Hint: "there is " + strings.Join(r.names(), ", ")}
}
