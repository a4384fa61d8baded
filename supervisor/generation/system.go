package generation

import (
	"context"
	"os"
	"syscall"
	"time"

	"tideover/supervisor/process"
)

// A System is where the processes of generations and their hooks run. Its methods are those of package
// process, and may be called from any goroutine.
type System interface {
	Start(s process.Spec) (Process, error)
	// Adopt returns the process tree of r, which a former supervisor has started.
	Adopt(r process.Record, started time.Time) (Process, error)
	Run(ctx context.Context, s process.Spec, output func(line string)) (process.Outcome, error)
}

// Process is the process tree of a generation: a process.Process.
type Process interface {
	Pid() int
	Pidfd() (*os.File, error)
	Record() process.Record
	Exited() <-chan struct{}
	Outcome() process.Outcome
	Signal(sig syscall.Signal) error

	Members() []int
	MainStopped() bool
	Activity() (process.Activity, error)
	Memory() (uint64, error)
	MemoryAbove(limit uint64) (n uint64, above bool, err error)
	Listening() ([]process.Listening, error)
	Holders(inodes []uint64) (map[uint64]process.Descriptor, error)

	WaitEmpty(ctx context.Context) error
	Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) process.StopReport
	StopTree(ctx context.Context, sig syscall.Signal, grace time.Duration) process.StopReport
	Kill(ctx context.Context) process.StopReport
}

// machine is the System of this machine.
type machine struct{}

func (machine) Start(s process.Spec) (Process, error) { return orNil(process.Start(s)) }

func (machine) Adopt(r process.Record, started time.Time) (Process, error) {
	return orNil(process.Adopt(r, started))
}

func (machine) Run(ctx context.Context, s process.Spec, output func(line string)) (process.Outcome, error) {
	return process.Run(ctx, s, output)
}

// orNil returns no Process at all after an error.
func orNil(p *process.Process, err error) (Process, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
