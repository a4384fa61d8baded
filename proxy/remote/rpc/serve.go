package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// Start is what a relay is made from.
type Start struct {
	Options []byte       // see Client.Start
	Page    *remote.Page // in which it is to count
	// Supervisor may be asked from when Serve's start has been called on.
	Supervisor *Supervisor
}

// A Process is what Serve serves.
type Process interface {
	remote.Relay
	// Retire finishes what is under way and returns when no connection is left. Another relay has
	// taken the place of this one, whose doors have been shut.
	Retire(ctx context.Context) error
	// Yield gives away the idle connections of an app, and waits until there is one. None: no connection
	// is left, or ctx has ended.
	Yield(ctx context.Context, app remote.AppID) []remote.Connection
	// Admit takes over what Yield of another relay has returned. The descriptors are the relay's from
	// then on; after an error they are closed.
	Admit(ctx context.Context, a remote.Admission) error
	// Describe says what the relay has.
	Describe(ctx context.Context) (remote.Description, error)
	// TakenOver drops what a supervisor that has died was in the middle of.
	TakenOver()
}

const (
	// orphanTimeout is how long a relay serves without a supervisor while another one may come.
	orphanTimeout = time.Minute
	// restTimeout bounds the reading of what a supervisor has sent before its death.
	restTimeout = time.Second
)

// Serve executes the calls that come over socket, and then those over the channels of later
// supervisors, which come over attach (see Attach). It closes both. start makes the relay, and
// returns what its process says of itself. While no supervisor lives the relay serves on with what
// it knows: for a minute, or until none can come any more because the other end of attach was closed
// everywhere; with a nil attach none can. Then Serve returns why the last channel has ended. Calls that wait may be under way: the
// process is to exit.
func Serve(socket, attach *os.File, start func(Start) (Process, any, error)) error {
	s := &server{start: start, lost: map[remote.ID]uint64{}, anyLost: make(chan struct{}, 1), replace: make(chan struct{})}
	sockets, end, err := receiveAttachments(attach)
	if err != nil {
		socket.Close()
		return err
	}
	defer end()
	for {
		next, err := s.serve(socket, sockets)
		if next == nil {
			return err
		}
		socket = next
		if s.relay != nil {
			s.relay.TakenOver()
		}
	}
}

// receiveAttachments returns the sockets of later supervisors. The channel is closed when none can
// come any more. end ends that.
func receiveAttachments(attach *os.File) (sockets <-chan *os.File, end func(), err error) {
	received := make(chan *os.File)
	if attach == nil {
		close(received)
		return received, func() {}, nil
	}
	later, err := channel.NewAttachments(attach)
	if err != nil {
		return nil, nil, err
	}
	over := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(received)
		for {
			f, err := later.Next()
			if err != nil {
				return
			}
			select {
			case received <- f:
			case <-over:
				f.Close()
				return
			}
		}
	})
	return received, func() {
		close(over)
		later.Close()
		reading.Wait()
	}, nil
}

// serve executes the calls of one supervisor, and returns when the next one has attached and
// everything was read that came before. nil: none comes any more.
func (s *server) serve(socket *os.File, later <-chan *os.File) (next *os.File, err error) {
	ready := make(chan struct{})
	c, err := channel.New(socket, channel.Options{MaxFiles: maxConnections, Handler: func(r *channel.Request) {
		<-ready
		s.handle(r)
	}})
	if err != nil {
		return nil, err
	}
	s.setChannel(c)
	close(ready)
	var reporting sync.WaitGroup
	reporting.Go(func() { s.report(c) })
	defer reporting.Wait()
	defer c.Close()
	select {
	case <-c.Done():
		return s.awaitNext(c, later)
	case next, ok := <-later:
		rest := time.After(restTimeout)
		if !ok { // no other supervisor can come: this one is the last
			rest = nil
		}
		select {
		case <-c.Done():
		case <-rest:
		}
		return next, c.Err()
	}
}

// awaitNext waits for a supervisor after the end of a channel.
func (s *server) awaitNext(c *channel.Channel, later <-chan *os.File) (*os.File, error) {
	s.setChannel(nil)
	alone := time.NewTimer(orphanTimeout)
	defer alone.Stop()
	select {
	case next := <-later: // nil: none can come
		return next, c.Err()
	case <-alone.C:
		return nil, c.Err()
	}
}

// server executes calls.
type server struct {
	start func(Start) (Process, any, error)
	relay Process // nil before the first call; of the goroutine that reads the channel until then

	mu      sync.Mutex
	channel *channel.Channel     // of the present supervisor; nil: there is none
	lost    map[remote.ID]uint64 // proofs that the supervisor is to be told of
	anyLost chan struct{}        // cap 1

	replace     chan struct{} // closed by Supervisor.Replace
	replaceOnce sync.Once
}

func (s *server) setChannel(c *channel.Channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channel = c
}

// call calls the present supervisor. Without one it fails at once.
func (s *server) call(ctx context.Context, q channel.Call) (channel.Answer, error) {
	s.mu.Lock()
	c := s.channel
	s.mu.Unlock()
	if c == nil {
		return channel.Answer{}, channel.ErrEnded
	}
	return c.Call(ctx, q)
}

// handle executes a call. What is answered at once is executed here, in the order of arrival; what
// may wait has a goroutine of its own.
func (s *server) handle(r *channel.Request) {
	if s.relay == nil {
		s.begin(r)
		return
	}
	if r.Method != methodOpen && r.Method != methodAdmit && r.Method != methodSet {
		closeFiles(r.Files)
		r.Files = nil
	}
	switch r.Method {
	case methodConfigure:
		reply(r, nothing(s.relay.Configure))
	case methodSet:
		reply(r, func(ctx context.Context, m set) (remote.Applied, error) { return s.set(ctx, m, r.Files) })
	case methodOpen:
		reply(r, func(ctx context.Context, d remote.Door) (none, error) { return none{}, s.open(ctx, d, r.Files) })
	case methodMark:
		reply(r, func(ctx context.Context, a app) (remote.Mark, error) { return s.relay.Mark(ctx, a.App) })
	case methodSince:
		reply(r, func(ctx context.Context, m remote.Since) (remote.Held, error) { return s.relay.Since(ctx, m), nil })
	case methodCut:
		reply(r, nothing(s.relay.Cut))
	case methodProve:
		reply(r, nothing(s.relay.Prove))
	case methodAnnounce:
		reply(r, func(ctx context.Context, _ none) (none, error) { return none{}, s.relay.Announce(ctx) })
	case methodDescribe:
		reply(r, func(ctx context.Context, _ none) (remote.Description, error) { return s.relay.Describe(ctx) })
	default:
		go s.wait(r)
	}
}

// begin executes the first call.
func (s *server) begin(r *channel.Request) {
	if r.Method != methodStart || len(r.Files) != 1 {
		closeFiles(r.Files)
		r.Fail(codeError, "the relay has not been started with a page")
		return
	}
	page, err := remote.MapPage(r.Files[0])
	var answer any
	if err == nil {
		s.relay, answer, err = s.start(Start{Options: r.Body, Page: page, Supervisor: &Supervisor{s}})
	}
	if err != nil {
		r.Fail(codeError, err.Error())
		return
	}
	r.Answer(encode(answer))
}

// wait executes a call that may wait for something.
func (s *server) wait(r *channel.Request) {
	switch r.Method {
	case methodRemove:
		reply(r, func(ctx context.Context, a app) (remote.Counters, error) { return s.relay.Remove(ctx, a.App) })
	case methodEnd:
		reply(r, func(ctx context.Context, _ none) (none, error) { return none{}, s.relay.End(ctx) })
	case methodShut:
		reply(r, func(ctx context.Context, d door) (none, error) { return none{}, s.relay.Shut(ctx, d.Door) })
	case methodAwait:
		reply(r, nothing(s.relay.Await))
	case methodGone:
		reply(r, s.gone)
	case methodRetire:
		reply(r, nothing(func(ctx context.Context, _ none) error { return s.relay.Retire(ctx) }))
	case methodReclaim:
		reply(r, nothing(s.relay.Reclaim))
	case methodProbe:
		reply(r, s.probe)
	case methodTurn:
		reply(r, func(ctx context.Context, _ none) (none, error) { return none{}, s.relay.Turn(ctx) })
	case methodYield:
		s.yield(r)
	case methodAdmit:
		reply(r, func(ctx context.Context, a remote.Admission) (none, error) { return none{}, s.admit(ctx, a, r.Files) })
	default:
		r.Fail(codeMethod, fmt.Sprintf("method %d is unknown", r.Method))
	}
}

// reply decodes the question of a call, and answers it with what do returns.
func reply[Q, A any](r *channel.Request, do func(context.Context, Q) (A, error)) {
	var question Q
	if err := json.Unmarshal(r.Body, &question); err != nil {
		closeFiles(r.Files)
		r.Fail(codeMessage, err.Error())
		return
	}
	answer, err := do(r.Context(), question)
	if err != nil {
		r.Fail(codeError, err.Error())
		return
	}
	r.Answer(encode(answer))
}

// nothing makes a call without an answer one with an empty answer.
func nothing[Q any](do func(context.Context, Q) error) func(context.Context, Q) (none, error) {
	return func(ctx context.Context, q Q) (none, error) { return none{}, do(ctx, q) }
}

func (s *server) set(ctx context.Context, m set, files []*os.File) (remote.Applied, error) {
	defer closeFiles(files)
	t, rest := m.Target, files
	take := func(sent bool) (f *os.File) {
		if sent && len(rest) > 0 {
			f, rest = rest[0], rest[1:]
		}
		return f
	}
	if t != nil {
		t.Main, t.Socket = take(m.Main), take(m.Socket)
		if m.Main && t.Main == nil || m.Socket && t.Socket == nil {
			return remote.Applied{}, errors.New("a target without its descriptors")
		}
	}
	m.Access.File = take(m.Pipe)
	if t != nil && t.NeedsProof {
		id := remote.ID{App: m.App, Generation: t.Generation}
		s.relay.SetProver(id, &prover{s, id})
	}
	return s.relay.Set(ctx, m.Set)
}

// probe may come before the first Set of its generation.
func (s *server) probe(ctx context.Context, p remote.Probe) (remote.ProbeAnswer, error) {
	if p.Verify {
		s.relay.SetProver(p.ID, &prover{s, p.ID})
	}
	return s.relay.Probe(ctx, p)
}

func (s *server) gone(ctx context.Context, id remote.ID) (reclaimed, error) {
	n, err := s.relay.Gone(ctx, id)
	s.relay.SetProver(id, nil)
	return reclaimed{n}, err
}

func (s *server) open(ctx context.Context, d remote.Door, files []*os.File) error {
	defer closeFiles(files)
	if len(files) != 1 {
		return errors.New("a door without its socket")
	}
	d.Socket = files[0]
	return s.relay.Open(ctx, d)
}

func (s *server) yield(r *channel.Request) {
	var question app
	if err := json.Unmarshal(r.Body, &question); err != nil {
		r.Fail(codeMessage, err.Error())
		return
	}
	packed, fds := packConnections(s.relay.Yield(r.Context(), question.App))
	r.Answer(encode(connections{packed}), asFiles(fds)...)
}

func (s *server) admit(ctx context.Context, a remote.Admission, files []*os.File) (err error) {
	a.Connections, err = unpackConnections(a.Connections, files)
	if err != nil {
		return err
	}
	return s.relay.Admit(ctx, a)
}
