package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

const (
	// answerTimeout is after how long a relay does not answer: time in which the supervisor ran.
	answerTimeout = 10 * time.Second
	// reclaimTimeout is that of a call that accepts what waits in a backlog, which takes 5 s at most,
	// or twice that behind another one.
	reclaimTimeout = answerTimeout + 10*time.Second
)

// errNotAnswering ends the channel to a relay that is alive and does not answer.
var errNotAnswering = errors.New("it does not answer")

// A Client is a relay in another process. It implements [remote.Relay].
type Client struct {
	*remote.Page // what the relay counts
	channel      *channel.Channel
	spool        spoolOpener
	replace      chan struct{} // see Replace
	replaceOnce  sync.Once

	mu      sync.Mutex
	cause   error // why the relay was given up; nil: it was not
	provers map[remote.ID]remote.Prover
}

var _ remote.Relay = (*Client)(nil)

// NewClient returns a client of the relay at the other end of socket, which it closes. epoch must
// be higher than that of any supervisor that has used the socket before. The relay counts in page,
// which must have a file and stays the caller's.
func NewClient(socket *os.File, epoch uint64, page *remote.Page) (*Client, error) {
	c := &Client{Page: page, replace: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	var err error
	c.mu.Lock() // until the channel is set
	defer c.mu.Unlock()
	c.channel, err = channel.New(socket, channel.Options{Epoch: epoch, Handler: c.handle, MaxBody: maxFromRelay})
	return c, err
}

// Attach returns a client of a relay whose supervisor has died. to is the other end of Serve's attach,
// and stays the caller's. The relay counts in page. Marks and waits of the former supervisor are
// forgotten; everything else stays as it is.
func Attach(to *os.File, epoch uint64, page *remote.Page) (*Client, error) {
	socket, err := channel.Attach(to, epoch)
	if err != nil {
		return nil, err
	}
	return NewClient(socket, epoch, page)
}

// Done is closed when the relay has ended, or was given up.
func (c *Client) Done() <-chan struct{} { return c.channel.Done() }

// Err is why, an ErrEnded of package remote; nil: it has not.
func (c *Client) Err() error { return c.ended(c.channel.Err()) }

// Close ends the channel. The relay then accepts nothing more, finishes what is in flight and exits.
func (c *Client) Close() { c.channel.Close() }

// Replace is closed when the relay has asked for another one to take its place, because a panic has
// cost a connection.
func (c *Client) Replace() <-chan struct{} { return c.replace }

// giveUp ends the channel to a relay that does not answer.
func (c *Client) giveUp() {
	c.mu.Lock()
	if c.cause == nil && c.channel.Err() == nil {
		c.cause = errNotAnswering
	}
	c.mu.Unlock()
	c.channel.Close()
}

// ended makes an error of the channel one of package remote.
func (c *Client) ended(err error) error {
	if !errors.Is(err, channel.ErrEnded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return fmt.Errorf("%w: %w", remote.ErrEnded, c.cause)
	}
	return fmt.Errorf("%w: %w", remote.ErrEnded, err)
}

// ask sends a call and decodes its answer.
func ask[A any](ctx context.Context, c *Client, method uint16, generation int, question any, files ...*os.File) (answer A, err error) {
	reply, err := c.channel.Call(ctx, channel.Call{Method: method, Generation: uint64(generation), Body: encode(question), Files: files})
	if err != nil {
		return answer, c.ended(err)
	}
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		var zero A
		return zero, fmt.Errorf("an answer of the relay: %w", err)
	}
	return answer, nil
}

// prompt is ask for a call that a relay answers at once: one that does not is given up.
func prompt[A any](ctx context.Context, c *Client, method uint16, generation int, question any, files ...*os.File) (A, error) {
	return within[A](ctx, c, answerTimeout, method, generation, question, files...)
}

// within is ask for a call that a relay answers in time: one that does not is given up.
func within[A any](ctx context.Context, c *Client, timeout time.Duration, method uint16, generation int, question any, files ...*os.File) (A, error) {
	overdue := awake.AfterFunc(timeout, c.giveUp)
	defer overdue.Stop()
	return ask[A](ctx, c, method, generation, question, files...)
}

// Start has the relay made from options, and decodes what its process says of itself. It must be the
// first call, and is bounded by ctx alone.
func (c *Client) Start(ctx context.Context, options, answer any) error {
	page, err := remote.DuplicateFile(c.Page.File())
	if err != nil {
		return err
	}
	reply, err := c.channel.Call(ctx, channel.Call{Method: methodStart, Body: encode(options), Files: []*os.File{page}})
	if err != nil {
		return c.ended(err)
	}
	if err := json.Unmarshal(reply.Body, answer); err != nil {
		return fmt.Errorf("an answer of the relay: %w", err)
	}
	return nil
}

func (c *Client) Configure(ctx context.Context, s remote.Settings) error {
	_, err := prompt[none](ctx, c, methodConfigure, 0, s)
	return err
}

func (c *Client) Set(ctx context.Context, s remote.Set) (remote.Applied, error) {
	m, generation := set{Set: s}, 0
	var files []*os.File
	add := func(f *os.File) bool {
		if f == nil {
			return false
		}
		dup, err := remote.DuplicateFile(f)
		if err == nil {
			files = append(files, dup)
		}
		return err == nil // without it the rest is desired all the same
	}
	if t := s.Target; t != nil {
		generation = t.Generation
		m.Main, m.Socket = add(t.Main), add(t.Socket)
	}
	m.Pipe = add(s.Access.File)
	return prompt[remote.Applied](ctx, c, methodSet, generation, m, files...)
}

func (c *Client) Remove(ctx context.Context, id remote.AppID) (remote.Counters, error) {
	final, err := ask[remote.Counters](ctx, c, methodRemove, 0, app{id})
	if err == nil {
		c.Forget(id)
	}
	return final, err
}

func (c *Client) Announce(ctx context.Context) error {
	_, err := prompt[none](ctx, c, methodAnnounce, 0, none{})
	return err
}

func (c *Client) End(ctx context.Context) error {
	_, err := ask[none](ctx, c, methodEnd, 0, none{})
	return err
}

func (c *Client) Open(ctx context.Context, d remote.Door) error {
	socket, err := remote.DuplicateFile(d.Socket)
	if err != nil {
		return err
	}
	_, err = prompt[none](ctx, c, methodOpen, 0, d, socket)
	return err
}

func (c *Client) Shut(ctx context.Context, number uint64) error {
	_, err := prompt[none](ctx, c, methodShut, 0, door{number})
	return err
}

func (c *Client) Mark(ctx context.Context, id remote.AppID) (remote.Mark, error) {
	return prompt[remote.Mark](ctx, c, methodMark, 0, app{id})
}

func (c *Client) Since(ctx context.Context, s remote.Since) remote.Held {
	held, err := prompt[remote.Held](ctx, c, methodSince, 0, s)
	if err != nil {
		return remote.Held{Partial: true}
	}
	return held
}

// Await has no other error than that of ctx: what a relay that has ended was to wait for is lost.
func (c *Client) Await(ctx context.Context, a remote.Await) error {
	if _, err := ask[none](ctx, c, methodAwait, a.Generation, a); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (c *Client) Cut(ctx context.Context, cut remote.Cut) error {
	_, err := prompt[none](ctx, c, methodCut, cut.Generation, cut)
	return err
}

func (c *Client) Gone(ctx context.Context, id remote.ID) (int, error) {
	answer, err := within[reclaimed](ctx, c, reclaimTimeout, methodGone, id.Generation, id)
	return answer.Reclaimed, err
}

func (c *Client) Reclaim(ctx context.Context, r remote.Reclaim) error {
	_, err := within[none](ctx, c, reclaimTimeout, methodReclaim, r.Generation, r)
	return err
}

func (c *Client) Prove(ctx context.Context, p remote.Proof) error {
	_, err := prompt[none](ctx, c, methodProve, p.Generation, p)
	return err
}

func (c *Client) Probe(ctx context.Context, p remote.Probe) (remote.ProbeAnswer, error) {
	return ask[remote.ProbeAnswer](ctx, c, methodProbe, p.Generation, p)
}

// Describe is that of Process.
func (c *Client) Describe(ctx context.Context) (remote.Description, error) {
	return prompt[remote.Description](ctx, c, methodDescribe, 0, none{})
}

// Retire is that of Process. Its error is that of ctx or ErrEnded.
func (c *Client) Retire(ctx context.Context) error {
	_, err := ask[none](ctx, c, methodRetire, 0, none{})
	return err
}

func (c *Client) Turn(ctx context.Context) error {
	_, err := ask[none](ctx, c, methodTurn, 0, none{})
	return err
}

// Yield is that of Process. Without an error none means that no connection is left.
func (c *Client) Yield(ctx context.Context, id remote.AppID) ([]remote.Connection, error) {
	reply, err := c.channel.Call(ctx, channel.Call{Method: methodYield, Body: encode(app{id}),
		AnswerBody: channel.MaxMessage, AnswerFiles: maxConnections})
	if err != nil {
		return nil, c.ended(err)
	}
	var packed connections
	if err := json.Unmarshal(reply.Body, &packed); err != nil {
		closeFiles(reply.Files)
		return nil, fmt.Errorf("an answer of the relay: %w", err)
	}
	return unpackConnections(packed.Connections, reply.Files)
}

// Admit is that of Process.
func (c *Client) Admit(ctx context.Context, a remote.Admission) error {
	packed, fds := packConnections(a.Connections)
	a.Connections = packed
	_, err := ask[none](ctx, c, methodAdmit, 0, a, asFiles(fds)...)
	return err
}
