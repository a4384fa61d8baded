//go:build linux

package process

import (
	"bufio"
	"context"
	"io"
	"os"
	"time"
)

// Run runs a command to its end and then kills what is left of its tree. When
// ctx ends, the whole tree is killed. Each line of its output goes to output,
// from one goroutine at a time. The error is that of the start, or the cause of
// ctx.
func Run(ctx context.Context, spec Spec, output func(line string)) (Outcome, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return Outcome{}, err
	}
	defer r.Close()
	spec.Stdout, spec.Stderr = w, w
	p, err := Start(spec)
	w.Close()
	if err != nil {
		return Outcome{}, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		readLines(r, output)
	}()
	select {
	case <-p.Exited():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.Kill(context.WithoutCancel(ctx))
	r.SetReadDeadline(time.Now().Add(time.Second)) // a process in uninterruptible sleep may keep the other end open
	<-read
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
