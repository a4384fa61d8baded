package supervisor

import (
	"bufio"
	"context"
	"io"
	"os"
	"time"

	"tideover/supervisor/process"
)

// errand runs a command beside an app to its end, and with it all that it has
// started: when its main process has exited, or ctx ends, the whole tree is
// killed. Each line of its output goes to said, from one goroutine at a time.
// The error is that of the start, or ctx's cause.
func (h *house) errand(ctx context.Context, spec process.Spec, said func(line string)) (process.Outcome, error) {
	output, end, err := os.Pipe()
	if err != nil {
		return process.Outcome{}, err
	}
	defer output.Close()
	spec.Stdout, spec.Stderr = end, end
	p, err := process.Start(spec)
	end.Close()
	if err != nil {
		return process.Outcome{}, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		eachLine(output, said)
	}()
	select {
	case <-p.Exited():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.Kill(context.WithoutCancel(ctx))
	output.SetReadDeadline(time.Now().Add(time.Second)) // somebody stuck in the kernel may hold the other end
	<-read
	return p.Outcome(), err
}

// eachLine reads to the end; a line that is too long comes in pieces.
func eachLine(from io.Reader, said func(line string)) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		text, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		said(string(text))
	}
}
