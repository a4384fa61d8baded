package generation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
)

const (
	// minProofInterval is the time between two proofs after one that has failed. It doubles up
	// to maxProofInterval, because a proof looks through the processes of the machine.
	minProofInterval = 150 * time.Millisecond
	maxProofInterval = time.Second
	// connectTimeout bounds a connect that neither succeeds nor fails: TCP with a full backlog.
	connectTimeout = time.Second
)

// childListener is the listening socket that the child opens itself, where its command has
// {socket} or {port}. Nothing is sent to it before it is proven that a process of the
// generation's tree listens: another user may have taken the port, and the child may have
// put another socket in the place of its own. A failed connect suspends the target until
// the next proof. It is the remote.Prover of its generation.
type childListener struct {
	app        string
	generation int
	address    string                 // at which the child was told to listen
	network    string                 // of that, and of dialed
	dialed     string                 // at which this process connects to it
	prove      func() (*proof, error) // of childPort or childSocket
	logger     hclog.Logger
	target     *Target

	proving sync.Mutex             // one proof at a time; guards last
	last    uint64                 // number of the last proof
	present atomic.Pointer[proof]  // nil: there is none
	problem atomic.Pointer[string] // why the last proof has failed; nil: it has not
	lost    chan struct{}          // a proof was lost
	removed chan struct{}          // closed when no file of the socket is left; see isRemoved
	stop    context.CancelFunc
	done    chan struct{} // closed when watch has returned
}

// proof says that the app's own processes listen at the generation's address.
type proof struct {
	number uint64
	// valid reports whether the listening socket of the proof is still open. It may be called from
	// any goroutine. nil: no other socket can ever be reached at the address.
	valid func() bool
}

// holds reports whether a connection that was opened under the proof has reached its socket.
func (p *proof) holds() bool { return p.valid == nil || p.valid() }

// errNotListening is the error of a proof when nothing listens at the address.
var errNotListening = errors.New("nothing listens")

// strangerError is the error of a proof when a process that does not belong to the
// generation listens at the address.
type strangerError struct {
	address string
	process string // pid and user
}

func (e *strangerError) Error() string {
	return "another process listens on " + e.address + ": " + e.process
}

// describeProcess names a process in a message. uid is the user of its socket.
func describeProcess(pid int, uid uint32) string {
	if pid <= 0 {
		return fmt.Sprintf("a process of uid %d", uid)
	}
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return fmt.Sprintf("pid %d (%q, uid %d)", pid, strings.TrimSpace(string(name)), uid)
}

// Lost is called by the relay: a connect under the proof of this number has failed.
func (l *childListener) Lost(number uint64) {
	if p := l.present.Load(); p != nil && p.number == number {
		l.lose(p)
	}
}

// Holds is called by the relay after a connect under the proof of this number.
func (l *childListener) Holds(number uint64) bool {
	p := l.present.Load()
	return p != nil && p.number == number && p.holds()
}

// lose takes the proof p back, if it is the present one, and reports whether it was.
func (l *childListener) lose(p *proof) bool {
	lost := l.present.CompareAndSwap(p, nil)
	if lost {
		l.signal()
	}
	return lost
}

// signal has watch prove the listener again.
func (l *childListener) signal() {
	select {
	case l.lost <- struct{}{}:
	default:
	}
}

// proof returns the present proof, or makes one and has the relay use it.
func (l *childListener) proof() (*proof, error) {
	l.proving.Lock()
	defer l.proving.Unlock()
	if p := l.present.Load(); p != nil {
		return p, nil
	}
	p, err := l.prove()
	if err != nil {
		text := err.Error()
		l.problem.Store(&text)
		return nil, err
	}
	l.problem.Store(nil)
	l.last++
	p.number = l.last
	l.present.Store(p)
	l.target.prove(p)
	return p, nil
}

// ask has the relay send a probe, as it sends a request: to the listening socket that was proven, or
// to none.
func (l *childListener) ask(ctx context.Context, q remote.Probe) (remote.ProbeAnswer, error) {
	p, err := l.proof()
	if err != nil {
		return remote.ProbeAnswer{}, err
	}
	q.ID, q.Network, q.Address = l.target.id, l.target.message.Network, l.target.message.Address
	q.Proof, q.Verify = p.number, p.valid != nil
	answer, err := l.target.relay.Probe(ctx, q)
	if answer.Failure == remote.ProbeRefused && l.lose(p) {
		l.target.void(p)
	}
	return answer, err
}

// stranger returns the error of a proof if it fails because a process that does not belong
// to the generation listens at the address.
func (l *childListener) stranger() *strangerError {
	var stranger *strangerError
	if l != nil {
		_, err := l.proof()
		errors.As(err, &stranger)
	}
	return stranger
}

// Problem says why requests are held although the main process lives; empty: they are not.
func (l *childListener) Problem() string {
	if l == nil || l.problem.Load() == nil {
		return ""
	}
	return *l.problem.Load()
}

// start begins to prove the listener anew whenever a proof is lost, until close or until the main
// process has exited.
func (l *childListener) start(target *Target, exited <-chan struct{}) {
	ctx, stop := context.WithCancel(context.Background())
	l.target, l.stop, l.done = target, stop, make(chan struct{})
	target.child = l
	target.relay.SetProver(target.id, l)
	go l.watch(ctx, exited)
}

func (l *childListener) watch(ctx context.Context, exited <-chan struct{}) {
	defer close(l.done)
	for {
		select {
		case <-l.lost:
			if l.proveAgain(ctx, exited) == errRemoved {
				close(l.removed)
				return
			}
		case <-exited:
			return
		case <-ctx.Done():
			return
		}
	}
}

// proveAgain repeats the proof until it succeeds. It returns later than that if need be, so that
// proofs take at most a quarter of one CPU: an app can open and close its socket all the time, and
// have as many processes and descriptors as it likes. The error is errRemoved, or nil.
func (l *childListener) proveAgain(ctx context.Context, exited <-chan struct{}) error {
	began, logged := time.Now(), ""
	for interval := minProofInterval; ; interval = min(2*interval, maxProofInterval) {
		tried := time.Now()
		_, err := l.proof()
		pause := 3 * time.Since(tried)
		switch kind := fmt.Sprintf("%T", err); {
		case err != nil && kind != logged:
			logged = kind
			l.logger.Warn("listener not proven", "app", l.app, "generation", l.generation, "address", l.address, "error", err,
				"hint", "requests are held")
		case err == nil && logged != "":
			l.logger.Info("listener proven", "app", l.app, "generation", l.generation, "address", l.address,
				"after_s", time.Since(began).Round(time.Millisecond).Seconds())
		}
		if err != nil {
			pause = max(pause, interval)
			if time.Since(began) > removedGrace && l.isRemoved() {
				return errRemoved
			}
		}
		select {
		case <-time.After(pause):
		case <-exited:
			return nil
		case <-ctx.Done():
			return nil
		}
		if err == nil {
			return nil
		}
	}
}

// removedGrace is the time in which a server that opens its socket anew has bound it.
const removedGrace = 2 * time.Second

// errRemoved says that isRemoved holds.
var errRemoved = errors.New("the files of the socket were removed")

// isRemoved reports whether neither the file of the child's socket exists nor the daemon's link to
// it, as after a cleaner of temporary files: then the socket cannot be reached, although the child
// may listen on it.
func (l *childListener) isRemoved() bool {
	if l.network != "unix" {
		return false
	}
	for _, path := range []string{l.address, l.dialed} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	return true
}

// close ends watch and waits for it.
func (l *childListener) close() {
	if l != nil {
		l.stop()
		<-l.done
	}
}
