package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	rate         = 50 // requests a second
	importTakes  = 2  // seconds that the app takes to import
	workers      = 4
	before       = 700 * time.Millisecond // of load before a step
	quiet        = time.Second            // without a loss and without a queue: the step has ended
	recovery     = 15 * time.Second       // then an operator helps
	brokenFor    = 5 * time.Second        // until a broken release is replaced
	queued       = 24                     // requests of 1 s each, in front of the workers
	clientWaits  = 60 * time.Second
	afterQueue   = 40 * time.Second
	startTimeout = 30 * time.Second
)

// The steps, in the order of the table.
var stepNames = []string{"reload", "restart", "crash", "broken", "queue"}

// contestant is a peer that runs.
type contestant struct {
	env     *testenv.Env
	app     *testenv.App
	address string // of the clients
	load    *loadgen.OpenLoop

	// Each returns the exit code of the command that an operator types. nil: there is no such command.
	reload, restart func(context.Context) (exit int, err error)
	// crash kills the main process of the app; nil: it has none of its own
	crash func() error
	// close ends what is no process of env; nil: nothing
	close func()
}

// deploy is what a deploy does: a reload where there is one.
func (c *contestant) deploy(ctx context.Context) (int, error) {
	if c.reload != nil {
		return c.reload(ctx)
	}
	return c.restart(ctx)
}

// count is what became of the requests of a step.
type count struct {
	Requests, Lost int
	Longest        time.Duration
	Ways           string // the kinds of losses
	Exit           int    // of the command
	Down           bool   // nothing brought the app back
	Stale          bool   // processes of an old release still answer
}

// run starts a peer and does all steps to it.
func run(ctx context.Context, p peer) (r result, err error) {
	c := &contestant{}
	if c.env, err = testenv.New("cmp"); err != nil {
		return r, err
	}
	defer func() {
		if c.load != nil {
			c.load.Stop()
		}
		if c.close != nil {
			c.close()
		}
		err = errors.Join(err, c.env.Close(false))
	}()
	if c.app, err = c.env.NewApp("shop", testenv.Release{Number: 1, Import: importTakes}); err != nil {
		return r, err
	}
	if err := p.start(c); err != nil {
		return r, err
	}
	if err := c.answers(ctx, startTimeout); err != nil {
		return r, fmt.Errorf("%w\n%s", err, c.env.Tails(10))
	}
	c.load = loadgen.Start(loadgen.Plan{Client: c.client(), Rate: rate, Mix: requests()})
	r = result{Date: time.Now(), Version: p.version(c), Steps: map[string]count{}}
	for _, name := range stepNames {
		do := c.step(name)
		if do == nil {
			continue
		}
		n, err := c.measure(ctx, do)
		if err != nil {
			return r, fmt.Errorf("%s: %w\n%s", name, err, c.env.Tails(10))
		}
		r.Steps[name] = n
	}
	return r, nil
}

// requests are reads and writes, short and longer, each on a connection of its own: what a client
// loses on an idle connection that the server closes is not counted, because browsers send it again.
func requests() []loadgen.Kind {
	get, post := loadgen.Kind{Name: "get"}, loadgen.Kind{Name: "post", Body: 300}
	return []loadgen.Kind{get, post, get, {Name: "get, slow", Query: "s=0.05"}, get,
		{Name: "post chunked", Body: 40 << 10, Chunked: true}, get, post, get, {Name: "post, slow", Body: 300, Query: "s=0.05"}}
}

func (c *contestant) client() *loadgen.Client {
	return &loadgen.Client{Address: c.address, Host: "shop.test", Timeout: clientWaits, Prefix: "n"}
}

// answers waits for a right answer.
func (c *contestant) answers(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return testenv.Poll(ctx, 50*time.Millisecond, func() error {
		if a := c.client().Do(ctx, loadgen.Kind{}); a.Loss != "" {
			return errors.New(a.Cause)
		}
		return nil
	})
}

// step returns what is done in a step; nil: the peer has no such command.
func (c *contestant) step(name string) func(context.Context) (int, error) {
	next := func(command func(context.Context) (int, error)) func(context.Context) (int, error) {
		if command == nil {
			return nil
		}
		return func(ctx context.Context) (int, error) {
			if _, err := c.app.DeployNext(); err != nil {
				return 0, err
			}
			return command(ctx)
		}
	}
	switch name {
	case "reload":
		return next(c.reload)
	case "restart":
		return next(c.restart)
	case "crash":
		return func(context.Context) (int, error) { return 0, c.crash() }
	case "broken":
		return c.brokenDeploy
	}
	return next(c.deployBehindQueue)
}

// brokenDeploy deploys a release that cannot be imported, and after a while the next one.
func (c *contestant) brokenDeploy(ctx context.Context) (int, error) {
	if err := c.app.DeployBroken("raise"); err != nil {
		return 0, err
	}
	begun := time.Now()
	exit, err := c.deploy(ctx)
	if err != nil {
		exit = 1 // the command itself was refused
	}
	if err := pause(ctx, brokenFor-time.Since(begun)); err != nil {
		return exit, err
	}
	if _, err := c.app.DeployNext(); err != nil {
		return exit, err
	}
	if _, err := c.deploy(ctx); err != nil {
		_, err = c.restart(ctx) // nothing is left that could be reloaded
		return exit, err
	}
	return exit, nil
}

// deployBehindQueue deploys while all workers are busy, and further requests wait.
func (c *contestant) deployBehindQueue(ctx context.Context) (int, error) {
	for range queued {
		c.load.Send(loadgen.Kind{Name: "1 s", Query: "s=1"})
	}
	if err := pause(ctx, time.Second); err != nil {
		return 0, err
	}
	return c.deploy(ctx)
}

// measure counts the requests around a step, until those that had to wait have ended.
func (c *contestant) measure(ctx context.Context, do func(context.Context) (int, error)) (n count, err error) {
	window := c.load.Open()
	defer func() {
		t := window.Close()
		n.Requests, n.Lost, n.Longest, n.Ways = t.Ended, t.Lost(), t.Longest, t.Ways()
	}()
	if err := pause(ctx, before); err != nil {
		return n, err
	}
	if n.Exit, err = do(ctx); err != nil {
		return n, err
	}
	fault := c.waitQuiet(ctx, recovery)
	if fault == nil {
		n.Stale, err = c.waitNewCode(ctx)
		return n, err
	}
	if ctx.Err() != nil {
		return n, ctx.Err()
	}
	n.Down = true
	fmt.Fprintf(os.Stderr, "%v; %s; the operator starts it\n%s\n", fault, c.load.Tally(), c.env.Tails(20))
	if _, err := c.restart(ctx); err != nil {
		return n, err
	}
	return n, c.waitQuiet(ctx, afterQueue)
}

// waitNewCode waits until 40 answers in a row are from the release that was deployed last: commands
// that only send a signal end before. stale: old code still answers after a while.
func (c *contestant) waitNewCode(ctx context.Context) (stale bool, err error) {
	limit := time.Now().Add(recovery)
	for row := 0; row < 40; row++ {
		a := c.client().Do(ctx, loadgen.Kind{})
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case a.Loss == "" && a.Echo["release"] == fmt.Sprint(c.app.Release().Number):
		case time.Now().After(limit):
			return true, nil
		default:
			row = -1
		}
	}
	return false, nil
}

// waitQuiet waits until for a second no request was lost and none had to wait.
func (c *contestant) waitQuiet(ctx context.Context, timeout time.Duration) error {
	limit := time.Now().Add(timeout)
	lost, since := c.load.Tally().Lost(), time.Now()
	for {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		t := c.load.Tally()
		lostNow := t.Lost() != lost
		if lostNow || t.InFlight > rate/5 {
			lost, since = t.Lost(), time.Now()
		}
		switch {
		case time.Since(since) >= quiet:
			return nil
		case time.Now().After(limit) && lostNow, time.Now().After(limit.Add(afterQueue)):
			return errors.New("requests are still lost, or wait")
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// kill returns a crash that kills the process whose id is pid().
func kill(pid func() (int, error)) func() error {
	return func() error {
		p, err := pid()
		if err == nil {
			err = syscall.Kill(p, syscall.SIGKILL)
		}
		return err
	}
}
