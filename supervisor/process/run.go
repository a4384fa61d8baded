//go:build linux

package process

import (
	"bufio"
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// Run runs a command to its end and then kills what is left of its tree. When
// ctx ends, the whole tree is killed. Each line of its output goes to output,
// from one goroutine at a time. The error is that of the start, or the cause of
// ctx.
func Run(ctx context.Context, spec Spec, output func(line string)) (Outcome, error) {
	pipe, w, err := os.Pipe()
	if err != nil {
		return Outcome{}, err
	}
	spec.Stdout, spec.Stderr = w, w
	return run(ctx, spec, []lineReader{{pipe, output}})
}

// RunSplit is Run with a function for each stream of the output, which are called at the same time.
func RunSplit(ctx context.Context, spec Spec, stdout, stderr func(line string)) (Outcome, error) {
	outPipe, out, err := os.Pipe()
	if err != nil {
		return Outcome{}, err
	}
	errPipe, errs, err := os.Pipe()
	if err != nil {
		outPipe.Close()
		out.Close()
		return Outcome{}, err
	}
	spec.Stdout, spec.Stderr = out, errs
	return run(ctx, spec, []lineReader{{outPipe, stdout}, {errPipe, stderr}})
}

// lineReader is the reading end of a pipe, and what gets its lines.
type lineReader struct {
	pipe *os.File
	line func(string)
}

// run is Run with the output of spec in pipes. All of them are closed.
func run(ctx context.Context, spec Spec, outputs []lineReader) (Outcome, error) {
	defer func() {
		for _, o := range outputs {
			o.pipe.Close()
		}
	}()
	p, err := Start(spec)
	spec.Stdout.Close()
	if spec.Stderr != spec.Stdout {
		spec.Stderr.Close()
	}
	if err != nil {
		return Outcome{}, err
	}
	var read sync.WaitGroup
	for _, o := range outputs {
		read.Go(func() { readLines(o.pipe, o.line) })
	}
	select {
	case <-p.Exited():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.Kill(context.WithoutCancel(ctx))
	for _, o := range outputs {
		o.pipe.SetReadDeadline(time.Now().Add(time.Second)) // a process in uninterruptible sleep may keep the other end open
	}
	read.Wait()
	return p.Outcome(), err
}

// readLines reads to EOF and calls line for each line; one beyond 64 KiB comes in
// pieces.
func readLines(from io.Reader, line func(string)) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		text, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		line(string(text))
	}
}
