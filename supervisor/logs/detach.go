package logs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Pipe is the read end of a pipe that a child of a generation writes to.
type Pipe struct {
	Generation int
	Stream     Stream
	File       *os.File
	Spool      *Spool // what was read of it and is not written; nil: that is lost with this process
}

// Detach stops reading and returns the pipes; what children write from now on stays in
// the pipe. It waits up to two seconds until the sinks have written what was read. The
// caller owns the files, for Attach in this or another program. It must not be called
// while pipes are opened.
func (l *Log) Detach() ([]Pipe, error) {
	all, ends, err := l.duplicatePipes()
	for _, end := range ends {
		<-end
	}
	l.sinks.flush()
	return all, err
}

// duplicatePipes duplicates all open pipes and makes the goroutines that read them end.
// The channels are closed when they have ended.
func (l *Log) duplicatePipes() (all []Pipe, ends []<-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pipes {
		for r, pipe := range p.open {
			file, failed := duplicate(r)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("keep %s: %w", r.Name(), failed))
				continue
			}
			pipe.File = file
			all = append(all, pipe)
			r.SetReadDeadline(time.Unix(1, 0))
		}
		if err == nil {
			ends = append(ends, p.empty)
		}
	}
	return all, ends, err
}

func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var failed error
	if err := raw.Control(func(from uintptr) { fd, failed = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// flush waits until all lines are written, up to stuckAfter. It locks Log.mu.
func (ss *sinks) flush() {
	ss.log.mu.Lock()
	former := ss.replaceAll()
	ss.log.mu.Unlock()
	timeout := time.NewTimer(stuckAfter)
	defer timeout.Stop()
	for _, s := range former {
		select {
		case <-s.done:
		case <-timeout.C:
			return
		}
	}
}

// replaceAll replaces all sinks by new ones. The old ones end when they have written the
// lines up to now.
func (ss *sinks) replaceAll() (former []*sink) {
	for _, k := range []sinkKind{toWriter, toFile, toJournal} {
		if s := ss.active(k); s != nil {
			s.retire()
			former = append(former, s)
		}
	}
	if ss.options.File.Path != "" {
		ss.startFile(newFile(ss.options.File))
	}
	ss.startWriter()
	ss.startJournal()
	return former
}

// A Kept has descriptors of a pipe that is read, which are the caller's. It must not read them while the Log does.
type Kept struct {
	Stream Stream
	File   *os.File
	Spool  *os.File // nil: there is none
}

// ReadEnds returns what another process needs of the pipes of a generation, to go on with them.
func (l *Log) ReadEnds(generation int) (all []Kept) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pipes[generation]
	if p == nil {
		return nil
	}
	for r, pipe := range p.open {
		k := Kept{Stream: pipe.Stream}
		var err error
		if k.File, err = duplicate(r); err != nil {
			continue
		}
		if pipe.Spool != nil {
			k.Spool, _ = pipe.Spool.duplicate() // an error: it is nil
		}
		all = append(all, k)
	}
	return all
}
