package supervisor

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// roster is who the daemon keeps. Everybody may read it; New, Run and Apply
// change it, one at a time.
type roster struct {
	house    *house
	changing sync.Mutex                // held by who changes it
	members  atomic.Pointer[[]*member] // in the order of the configuration
	running  sync.WaitGroup            // a count of their apps
}

func newRoster(h *house) *roster {
	r := &roster{house: h}
	r.members.Store(&[]*member{})
	return r
}

// member is an app among those the daemon keeps, with the doors its clients
// come through.
type member struct {
	app   *App
	doors []*door
	leave context.CancelFunc // has the app end; nil: it was never begun
}

// door is one public address.
type door struct {
	address string             // as the configuration says it
	sockets []*listener.Public // several only where a service manager has passed them
	stop    func()             // ends the accepting, and waits for it; nil: it was never begun
}

// passed reports whether a service manager has opened it.
func (d *door) passed() bool { return strings.HasPrefix(d.address, passed) }

// all are the members, in the order of the configuration. The slice is never
// changed.
func (r *roster) all() []*member { return *r.members.Load() }

// admit makes one app, opens its doors, and counts it among the members.
func (r *roster) admit(cfg *config.App) error {
	m, err := r.newMember(cfg)
	if err != nil {
		return err
	}
	members := append(slices.Clone(r.all()), m)
	r.members.Store(&members)
	for _, address := range cfg.Listen {
		d, err := r.openDoor(cfg, address)
		if err != nil {
			return err
		}
		m.doors = append(m.doors, d)
	}
	return nil
}

// newMember makes an app that has no doors yet.
func (r *roster) newMember(cfg *config.App) (*member, error) {
	log, err := logs.New(r.house.logOptions(cfg))
	if err != nil {
		return nil, api.Errorf(api.ExitError, "cannot open the log of %s: %v", cfg.Name, err)
	}
	return &member{app: newApp(r.house, cfg, log)}, nil
}

// openDoor opens one of an app's public addresses.
func (r *roster) openDoor(cfg *config.App, address string) (*door, error) {
	sockets, err := r.house.inherited.open(address, cfg.ListenMode)
	if err != nil {
		return nil, api.Errorf(api.ExitError, "app %s: %v", cfg.Name, err)
	}
	return &door{address: address, sockets: sockets}, nil
}

// begin lets a member's clients in and starts its app when its turn has come.
func (r *roster) begin(m *member, first []<-chan struct{}) {
	for _, d := range m.doors {
		d.accept(m.app)
	}
	ctx, leave := context.WithCancel(context.Background())
	m.leave = leave
	r.running.Go(func() {
		defer leave()
		m.app.run(ctx, first)
	})
}

// accept leads who comes through the door to the app.
func (d *door) accept(a *App) {
	ctx, cancel := context.WithCancel(context.Background())
	var accepting sync.WaitGroup
	d.stop = func() {
		cancel()
		accepting.Wait()
	}
	for _, socket := range d.sockets {
		accepting.Go(func() {
			if err := a.server.Serve(ctx, socket.Listener()); err != nil {
				a.house.logger.Error("cannot accept any more", "app", a.name, "address", d.address, "error", err)
			}
		})
	}
}

// shut ends the accepting and closes the sockets.
func (d *door) shut() {
	if d.stop != nil {
		d.stop()
	}
	for _, socket := range d.sockets {
		socket.Close()
	}
}

// firstOf are the signs that those are up that m is to come after.
func firstOf(m *member, among []*member) []<-chan struct{} {
	var signs []<-chan struct{}
	for _, other := range among {
		if m.comesAfter(other) {
			signs = append(signs, other.app.settled)
		}
	}
	return signs
}

// comesAfter reports whether m is started after other and stopped before it.
func (m *member) comesAfter(other *member) bool {
	return m != other && slices.ContainsFunc(m.settings().After, other.settings().Answers)
}

// settings are those the app has now.
func (m *member) settings() *config.App { return m.app.seen.Load().settings }

// lastAnswer is how long a front-end's idle connections may wait for their last
// answer once nothing is left to drain.
const lastAnswer = time.Second

// dismiss ends members and returns when nothing of them is left. Those that
// come after others go before them. Doors close when the last process is gone:
// until then everybody gets an answer.
func (r *roster) dismiss(leaving, among []*member) {
	for _, m := range leaving {
		if m.app.server != nil {
			m.app.server.Lame()
		}
	}
	var going sync.WaitGroup
	for _, m := range leaving {
		going.Go(func() {
			for _, other := range among {
				if slices.Contains(leaving, other) && other.comesAfter(m) {
					<-other.app.gone
				}
			}
			m.leave()
			<-m.app.gone
		})
	}
	going.Wait()
	soon, cancel := context.WithTimeout(r.house.hurry, lastAnswer)
	defer cancel()
	for _, m := range leaving {
		going.Go(func() { m.end(soon) })
	}
	going.Wait()
}

// end closes what an app has beside its processes: the doors first, in the same
// moment in which accepting ends, because what nobody accepts any more is
// reset. Connections that are there end with an answer as far as that comes
// before soon is over.
func (m *member) end(soon context.Context) {
	m.shut()
	if server := m.app.server; server != nil {
		server.Linger(soon)
		server.End()
	}
	m.close()
}

func (m *member) shut() {
	for _, d := range m.doors {
		d.shut()
	}
	m.doors = nil
}

// close closes the doors and the log. It may be called twice.
func (m *member) close() {
	m.shut()
	m.app.house.watch.Set(m.app.name, config.Watch{})
	m.app.house.vigil.forget(m.app.name)
	m.app.log.Close()
}
