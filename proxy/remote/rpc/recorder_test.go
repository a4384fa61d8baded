package rpc

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// recorder is a relay that keeps what it was asked, and answers what it was told to.
type recorder struct {
	*remote.Page // never read
	mu           sync.Mutex
	asked        []any
	blocked      chan struct{} // Await, Turn and Probe return when it is closed

	applied     remote.Applied
	mark        remote.Mark
	held        remote.Held
	final       remote.Counters
	description remote.Description
	answer      remote.ProbeAnswer
	connections []remote.Connection
	err         error // of Open and Admit
	provers     map[remote.ID]remote.Prover
	inode       uint64 // of the socket of the last door
}

func (r *recorder) record(question any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, question)
}

// with calls f with r.mu held: the race detector does not see that a call over the channel orders
// what both sides do.
func (r *recorder) with(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) last() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[len(r.asked)-1]
}

func (r *recorder) block(ctx context.Context) error {
	select {
	case <-r.blocked:
		return nil
	case <-ctx.Done():
		r.record("forgotten")
		return ctx.Err()
	}
}

func (r *recorder) Set(_ context.Context, s remote.Set) (remote.Applied, error) {
	r.record(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied, nil
}
func (r *recorder) Remove(ctx context.Context, id remote.AppID) (remote.Counters, error) {
	r.record(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.final, nil
}
func (r *recorder) Configure(_ context.Context, s remote.Settings) error {
	r.record(s)
	return nil
}
func (r *recorder) Announce(context.Context) error {
	r.record("announced")
	return nil
}
func (r *recorder) End(context.Context) error {
	r.record("ended")
	return nil
}
func (r *recorder) Open(_ context.Context, d remote.Door) error {
	inode := inodeOf(int(d.Socket.(*os.File).Fd()))
	d.Socket = nil
	r.record(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inode = inode
	return r.err
}
func (r *recorder) Shut(_ context.Context, number uint64) error {
	r.record(number)
	return nil
}
func (r *recorder) Mark(_ context.Context, id remote.AppID) (remote.Mark, error) {
	r.record(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mark, nil
}
func (r *recorder) Since(_ context.Context, s remote.Since) remote.Held {
	r.record(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}
func (r *recorder) Await(ctx context.Context, a remote.Await) error {
	r.record(a)
	return r.block(ctx)
}
func (r *recorder) Cut(_ context.Context, c remote.Cut) error {
	r.record(c)
	return nil
}
func (r *recorder) Gone(_ context.Context, id remote.ID) (int, error) {
	r.record(id)
	return 7, nil
}
func (r *recorder) Reclaim(_ context.Context, q remote.Reclaim) error {
	r.record(q)
	return nil
}
func (r *recorder) Prove(_ context.Context, p remote.Proof) error {
	r.record(p)
	return nil
}
func (r *recorder) Probe(_ context.Context, p remote.Probe) (remote.ProbeAnswer, error) {
	r.record(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answer, nil
}
func (r *recorder) Retire(context.Context) error {
	r.record("retired")
	return nil
}
func (r *recorder) Describe(context.Context) (remote.Description, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.description, nil
}
func (r *recorder) TakenOver()                     { r.record("taken over") }
func (r *recorder) Turn(ctx context.Context) error { return r.block(ctx) }
func (r *recorder) Yield(_ context.Context, id remote.AppID) []remote.Connection {
	r.record(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.connections
	r.connections = nil
	return all
}
func (r *recorder) Admit(_ context.Context, a remote.Admission) error {
	r.record(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
func (r *recorder) SetProver(id remote.ID, p remote.Prover) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.provers[id] = p
}

var errSocket = errors.New("listen tcp: the socket is closed")

// connect returns a client of a recorder over a pair of sockets.
func connect(t *testing.T) (*Client, *recorder) {
	r := &recorder{blocked: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	return connectTo(t, func(Start) Process { return r }), r
}

func connectTo(t *testing.T, relay func(Start) Process) *Client {
	ours, theirs, err := channel.Pair()
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := Serve(theirs, nil, func(s Start) (Process, any, error) { return relay(s), none{}, nil }); !errors.Is(err, channel.ErrEnded) {
			t.Errorf("Serve: %v", err)
		}
	})
	c, err := NewClient(ours, 1, newPage(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		serving.Wait()
	})
	if err := c.Start(t.Context(), none{}, &none{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func newPage(t testing.TB) *remote.Page {
	page, err := remote.NewPage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { page.File().Close() })
	return page
}

func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

func openDescriptors(t testing.TB) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// wantDescriptors waits until no more than n descriptors are open: those of a test before this one may
// be closed a moment later than that has ended.
func wantDescriptors(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); openDescriptors(t) > n; {
		if now := <-tick.C; now.After(deadline) {
			t.Fatalf("%d descriptors are open instead of %d", openDescriptors(t), n)
		}
	}
}

// takeAdmitted closes the connections of all Admits, and forgets what was asked.
func (r *recorder) takeAdmitted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.asked {
		if a, ok := q.(remote.Admission); ok {
			closeConnections(a.Connections)
		}
	}
	r.asked = nil
}
