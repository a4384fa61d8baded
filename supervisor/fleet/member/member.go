package member

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
)

const (
	// interval is how often the supervisor is asked, and what was missed is tried again.
	interval = time.Second
	// commitTimeout bounds a transaction.
	commitTimeout = 10 * time.Second
)

// Store is an *etcd.Client.
type Store interface {
	Grant(ctx context.Context, ttl time.Duration) (lease int64, err error)
	KeepAlive(ctx context.Context, lease int64) (left time.Duration, err error)
	Revoke(ctx context.Context, lease int64) error
	Commit(ctx context.Context, t fleet.Txn, lease int64) (done bool, revision int64, err error)
	Read(ctx context.Context) (etcd.Update, error)
	Follow(ctx context.Context, updates chan<- etcd.Update) error
}

// Apps is a *control.Client.
type Apps interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
	Check(ctx context.Context, apps ...string) (api.Status, error)
	DoAttached(ctx context.Context, r api.Request, withdrawn <-chan struct{}, progress func(api.Phase)) (api.Result, error)
	Drain(ctx context.Context, app string, r api.DrainRequest) (api.DrainReport, error)
	Undrain(ctx context.Context, app string) (api.DrainReport, error)
	Turn(ctx context.Context) error
	SetFleet(ctx context.Context, f api.Fleet) error
}

// Options make a Member.
type Options struct {
	Store   Store
	Apps    Apps
	Group   string
	Host    string
	Process string        // unlike that of any other process
	Wait    time.Duration // for a host that is away
	// Log gets a sentence for the operator, when something has changed.
	Log func(Event)
}

// Kind is what an Event is.
type Kind string

const (
	Joined    Kind = "joined"     // etcd is reached, and the host is a member
	NotJoined Kind = "not joined" // the reason is in Error
	TurnBegun Kind = "turn begun"
	TurnEnded Kind = "turn ended" // with an Error if it has failed
	Halted    Kind = "halted"     // by this host, because of another one
)

// Event is for the log of the daemon.
type Event struct {
	Kind  Kind   `json:"kind"`
	Error string `json:"error,omitempty"`
	App   string `json:"app,omitempty"`
	ID    string `json:"id,omitempty"` // of the rollout
}

// Member is the part of one host.
type Member struct {
	options Options
	session *session
	worked  chan fleet.Done // the end of the turn
	working sync.WaitGroup

	// Of Run's goroutine:
	view    *fleet.View
	known   int64 // revision that the view must have for the next step
	turn    *fleet.Turn
	outcome *fleet.Done // of the turn, to be put
	said    hostRecord  // what was put for the host
	missing map[string]time.Time
	logged  string    // why it is no member
	shown   api.Fleet // what the supervisor was told
	looked  time.Time // when what is known was last compared with it
}

// hostRecord is a record with the session whose lease its key has.
type hostRecord struct {
	session string
	record  fleet.Host
}

// New returns a Member.
func New(o Options) *Member {
	return &Member{options: o, session: newSession(o.Store, o.Process), worked: make(chan fleet.Done, 1), missing: map[string]time.Time{}, logged: "not tried yet"}
}

// Run takes part until ctx ends. A turn that is open then stays open: what the supervisor does in it
// goes on, and the other hosts halt the rollout.
func (m *Member) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	updates := make(chan etcd.Update)
	m.working.Go(func() { etcd.FollowAgain(ctx, m.options.Store.Follow, updates, m.session.fail) })
	m.working.Go(func() { m.session.keep(ctx) })
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case u := <-updates:
			m.apply(u)
		case done := <-m.worked:
			m.outcome = &done
		case <-m.session.changed:
		case <-ticker.C:
		case <-ctx.Done():
			continue
		}
		m.act(ctx)
		m.show(ctx)
	}
	cancel()
	m.working.Wait()
	if m.turn == nil {
		m.session.end()
	}
}

// apply takes an update over. Without a view a change is left out: it is not all that is there.
func (m *Member) apply(u etcd.Update) {
	if m.view == nil && !u.Whole {
		return
	}
	view, err := etcd.Apply(m.view, u)
	if err != nil {
		m.note(err)
		m.view = nil
		return
	}
	m.view = view
}

// note logs why the host is no member, once until there is another reason or none.
func (m *Member) note(err error) {
	if err == nil {
		if m.logged != "" {
			m.logged = ""
			m.options.Log(Event{Kind: Joined})
		}
		return
	}
	if text := err.Error(); text != m.logged {
		m.logged = text
		m.options.Log(Event{Kind: NotJoined, Error: text})
	}
}

// act does what is to be done now.
func (m *Member) act(ctx context.Context) {
	s := m.session.now()
	if s.lease != 0 && m.view == nil {
		m.read(ctx)
	}
	if s.lease == 0 || m.view == nil {
		if err := m.session.failure(); err != nil {
			m.note(err)
		}
		return
	}
	asking, cancel := context.WithTimeout(ctx, commitTimeout)
	status, err := m.options.Apps.Status(asking)
	cancel()
	if err != nil {
		return
	}
	if !m.join(ctx, s, status) {
		return
	}
	m.note(nil)
	for ctx.Err() == nil && m.view != nil && m.view.Revision >= m.known {
		step, ok := m.next(s, status)
		if step.Kind == fleet.GoOn {
			m.resume(ctx, s, step)
			continue
		}
		if !ok || !m.carryOut(ctx, s, step) {
			return
		}
	}
}

// join puts what the host says of itself, if that has changed. It reports whether the host is a
// member.
func (m *Member) join(ctx context.Context, s lease, status api.Status) bool {
	record := fleet.Host{Process: m.options.Process, Version: status.Version, Apps: map[string]fleet.AppHost{}}
	for _, a := range status.Apps {
		record.Apps[a.Name] = fleet.AppHost{Generation: a.Generation, Revision: a.Revision, State: string(a.State)}
	}
	now := hostRecord{s.id, record}
	if reflect.DeepEqual(now, m.said) && m.view.Has(m.options.Host) {
		return true
	}
	txn, ok := fleet.Join(m.view, m.options.Host, record)
	if !ok {
		m.note(fmt.Errorf("another process has the name %s: one before this one, for 15 s at most, or another host of that name (fleet.host)", m.options.Host))
		return false
	}
	done, err := m.commit(ctx, s, txn)
	if done && err == nil {
		m.said = now
	}
	return done && err == nil
}

// commit carries a transaction out. When its conditions do not hold, the view is too old: it is read
// again.
func (m *Member) commit(ctx context.Context, s lease, txn fleet.Txn) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	done, revision, err := m.options.Store.Commit(ctx, txn, s.lease)
	if done && err == nil {
		m.known = revision
		return true, nil
	}
	if failed := m.read(ctx); failed != nil {
		m.view = nil // until it is read again: the transaction may have been done
		return false, failed
	}
	return false, err
}

// read reads all keys.
func (m *Member) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	u, err := m.options.Store.Read(ctx)
	if err == nil {
		m.apply(u)
	}
	return err
}

// next is the next step; ok is false if there is nothing to do.
func (m *Member) next(s lease, status api.Status) (step fleet.Step, ok bool) {
	if m.outcome != nil {
		txn, open := fleet.Finish(m.view, m.options.Host, *m.turn, *m.outcome)
		if !open {
			m.turn, m.outcome = nil, nil
			return m.next(s, status)
		}
		return fleet.Step{Kind: fleet.Close, Txn: txn}, true
	}
	self := fleet.Self{Host: m.options.Host, Process: m.options.Process, Session: s.id, Turn: m.turn, Busy: m.busy(status), Away: m.away,
		Local: status.Turns != nil && status.Turns.Waiting > 0}
	step = fleet.Next(m.view, self)
	return step, step.Kind != fleet.Wait
}

// busy reports whether an operation runs on the app of the rollout that is not of this turn, or reloads of the
// host's own that another process has begun.
func (m *Member) busy(status api.Status) bool {
	if m.turn != nil {
		return false
	}
	if status.Turns != nil && status.Turns.Running > 0 {
		return true
	}
	wish, ok := m.view.Wish()
	if !ok {
		return false
	}
	for _, a := range status.Apps {
		if a.Name == wish.App && a.Operation != nil {
			return true
		}
	}
	return false
}

// away reports whether a host has been missing for Wait.
func (m *Member) away(host string) bool {
	if m.view.Has(host) {
		delete(m.missing, host)
		return false
	}
	since, known := m.missing[host]
	if !known {
		m.missing[host] = time.Now()
		return false
	}
	return time.Since(since) >= m.options.Wait
}

// carryOut does a step, and reports whether another one may follow at once.
func (m *Member) carryOut(ctx context.Context, s lease, step fleet.Step) bool {
	wish, _ := m.view.Wish()
	done, err := m.commit(ctx, s, step.Txn)
	switch {
	case err != nil:
		return false
	case !done: // the view was too old
	case step.Kind == fleet.Begin:
		turn := step.Turn
		turn.Begun = m.known
		m.turn = &turn
		m.begin(ctx, s, turn, wish)
	case step.Kind == fleet.Stop:
		m.options.Log(Event{Kind: Halted, App: wish.App, ID: fmt.Sprint(wish.ID), Error: step.Halt.Host + ": " + step.Halt.Reason})
	}
	return true
}

// begin begins what is done in a turn.
func (m *Member) begin(ctx context.Context, s lease, turn fleet.Turn, wish fleet.Wish) {
	if turn.Local() {
		m.working.Go(func() { m.reloadLocally(ctx) })
		return
	}
	m.options.Log(Event{Kind: TurnBegun, App: wish.App, ID: turn.ID})
	m.work(ctx, turn, turnWork{apps: m.options.Apps, session: m.session, id: s.id, wish: wish, operation: operationID(m.options.Process, turn)})
}

// resume goes on with a turn that a former process has begun, whose supervisor has died.
func (m *Member) resume(ctx context.Context, s lease, step fleet.Step) {
	wish, _ := m.view.Wish()
	turn := step.Turn
	m.turn = &turn
	m.work(ctx, turn, turnWork{apps: m.options.Apps, session: m.session, id: s.id, wish: wish, operation: operationID(step.Former, turn), resumed: true})
}

// operationID is the id by which a supervisor knows the reload of a turn. A later process knows it, too.
func operationID(process string, turn fleet.Turn) string {
	return fmt.Sprintf("%s.%d", process, turn.Begun)
}

// work does what is done in a turn, in a goroutine of its own.
func (m *Member) work(ctx context.Context, turn fleet.Turn, work turnWork) {
	wish := work.wish
	m.working.Go(func() {
		done := work.run(ctx)
		if ctx.Err() != nil {
			return // what was done goes on, and is not reported
		}
		m.options.Log(Event{Kind: TurnEnded, App: wish.App, ID: turn.ID, Error: done.Reason})
		m.worked <- done
	})
}
