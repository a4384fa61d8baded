package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
	"tideover/proxy/remote/rpc"
	"tideover/supervisor/confine"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

const (
	// startTimeout bounds the time until the process has answered its first call.
	startTimeout = 10 * time.Second
	// endTimeout is how long the process has to end once its channel is closed.
	endTimeout = 5 * time.Second
)

// A relayProcess is one relay.
type relayProcess struct {
	*rpc.Client
	number  uint64 // of the relay, for the life of the supervisor
	process child
	record  handoff.RelayRecord
	attach  *os.File       // by which a later supervisor attaches to it
	log     sync.WaitGroup // what reads its log
	// measures are those of its confinement.
	measures []confine.Measure
	retired  bool // another one has taken its place; guarded by Keeper.turnover
	// draining ends by hurry: then a retired relay is to end although it has connections.
	draining context.Context
	hurry    context.CancelFunc
	counted  chan struct{} // closed when no process of it exists and what was under way counts as cut
}

// child is the process of a relay: a process.Process.
type child interface {
	Pid() int
	Exited() <-chan struct{}
	Outcome() process.Outcome
	Kill(ctx context.Context) process.StopReport
}

// forkOptions are what a relay is started with.
type forkOptions struct {
	store     handoff.Store                          // nil: no supervisor comes later
	announce  func(record handoff.RelayRecord) error // called before the fork
	pageIndex int
	user      confine.User // its own; the zero value: it has none
	number    uint64
	settings  Settings
	page      *remote.Page
	spoolFile func() (*os.File, error)
	logger    hclog.Logger
}

// fork starts a relay and its first call. After an error no process is left.
func fork(o forkOptions) (_ *relayProcess, err error) {
	ours, theirs, err := channel.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	attach, attached, err := channel.Pair()
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer attached.Close()
	logRead, logWrite, err := openPipe()
	if err != nil {
		ours.Close()
		attach.Close()
		return nil, err
	}
	defer logWrite.Close()
	p := newRelayProcess(o.number, attach)
	p.record.Page, p.record.Counts = o.pageIndex, pageName(o.pageIndex)
	p.record.UID, p.record.GID = o.user.UID, o.user.GID
	p.record.Program = handoff.OwnExecutable()
	spec := process.Spec{
		File: "/proc/self/exe", Argv: []string{roleName}, Dir: "/", Env: environment(), Listen: []*os.File{theirs, attached}, Stderr: logWrite,
		Name: fmt.Sprintf("relay.%d", o.number), Token: rand.Text(), Nofile: uint64(maxDescriptors()),
		OOMScoreAdj: process.OOMScoreAdj(), // apps are killed before it
	}
	p.record.Tree = spec.Record()
	err = p.store(o, logRead)
	var started *process.Process
	if err == nil {
		started, err = process.Start(spec)
	}
	if err != nil {
		ours.Close()
		logRead.Close()
		p.forget(o.store)
		return nil, fmt.Errorf("cannot start the relay: %w", err)
	}
	logWrite.Close()
	p.process, p.record.Tree = started, started.Record()
	p.log.Go(func() { copyLog(logRead, o.logger) })
	p.Client, err = rpc.NewClient(ours, o.number, o.page)
	if err == nil {
		p.SetSpool(o.spoolFile)
		err = p.start(o.settings)
	}
	if err != nil {
		p.kill()
		p.forget(o.store)
		return nil, fmt.Errorf("the relay has not started: %w", err)
	}
	return p, nil
}

func newRelayProcess(number uint64, attach *os.File) *relayProcess {
	p := &relayProcess{number: number, attach: attach, counted: make(chan struct{})}
	p.record.Number = number
	p.record.Attach, p.record.Log = fmt.Sprintf("relay/%d/attach", number), fmt.Sprintf("relay/%d/log", number)
	p.draining, p.hurry = context.WithCancel(context.Background())
	return p
}

// store keeps what a later supervisor needs, and announces the process.
func (p *relayProcess) store(o forkOptions, logRead *os.File) error {
	if o.store == nil {
		return nil
	}
	if err := o.store.Put(context.Background(), p.record.Attach, p.attach); err != nil {
		return err
	}
	if err := o.store.Put(context.Background(), p.record.Log, logRead); err != nil {
		return err
	}
	return o.announce(p.record)
}

// forget drops the descriptors of a relay that is to end, or has ended: no supervisor is to attach to it.
func (p *relayProcess) forget(store handoff.Store) {
	p.attach.Close()
	if store != nil {
		_ = store.Drop(context.Background(), p.record.Attach, p.record.Log) // its successor drops what no record names
	}
}

// environment is that of a relay: what its runtime and the time zone of its log need.
func environment() []string {
	var env []string
	for _, name := range []string{"TZ", "GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "GORACE", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (p *relayProcess) start(s Settings) error {
	ctx, cancel := awake.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var answer started
	if err := p.Client.Start(ctx, s, &answer); err != nil {
		return err
	}
	if answer.NotConfined != "" {
		return &confinementError{answer.NotConfined}
	}
	if s.Confinement == nil {
		return nil
	}
	p.measures = answer.Measures
	if err := confine.Verify(p.process.Pid(), *s.Confinement); err != nil {
		return fmt.Errorf("it is not confined: %w", err)
	}
	return nil
}

// end closes the channel for good, and kills the process when it does not end by itself.
func (p *relayProcess) end(store handoff.Store) {
	p.forget(store)
	p.Client.Close()
	ctx, cancel := awake.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	select {
	case <-p.process.Exited():
	case <-ctx.Done():
	}
	p.kill()
}

// kill ends the process at once, and returns when it is gone and its log was read.
func (p *relayProcess) kill() {
	if p.Client != nil {
		p.Client.Close()
	}
	p.process.Kill(context.Background())
	p.log.Wait()
}
