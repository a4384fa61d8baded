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
	process *process.Process
	log     sync.WaitGroup // what reads its log
	// measures are those of its confinement.
	measures []confine.Measure
	retired  bool // another one has taken its place; guarded by Keeper.turnover
	// draining ends by hurry: then a retired relay is to end although it has connections.
	draining context.Context
	hurry    context.CancelFunc
	counted  chan struct{} // closed when no process of it exists and what was under way counts as cut
}

// forkOptions are what a relay is started with.
type forkOptions struct {
	number    uint64
	settings  Settings
	page      *remote.Page
	spoolFile func() (*os.File, error)
	logger    hclog.Logger
}

// fork starts a relay and its first call. After an error no process is left.
func fork(o forkOptions) (*relayProcess, error) {
	ours, theirs, err := channel.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	logRead, logWrite, err := openPipe()
	if err != nil {
		ours.Close()
		return nil, err
	}
	started, err := process.Start(process.Spec{
		File: "/proc/self/exe", Argv: []string{roleName}, Dir: "/", Env: environment(), Listen: []*os.File{theirs}, Stderr: logWrite,
		Name: fmt.Sprintf("relay.%d", o.number), Token: rand.Text(), Nofile: uint64(maxDescriptors()),
	})
	logWrite.Close()
	if err != nil {
		ours.Close()
		logRead.Close()
		return nil, fmt.Errorf("cannot start the relay: %w", err)
	}
	p := &relayProcess{number: o.number, process: started, counted: make(chan struct{})}
	p.draining, p.hurry = context.WithCancel(context.Background())
	p.log.Go(func() { copyLog(logRead, o.logger) })
	p.Client, err = rpc.NewClient(ours, o.number, o.page)
	if err == nil {
		p.SetSpool(o.spoolFile)
		err = p.start(o.settings)
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("the relay has not started: %w", err)
	}
	return p, nil
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

// end closes the channel, and kills the process when it does not end by itself.
func (p *relayProcess) end() {
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
