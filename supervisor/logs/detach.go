package logs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Pipe is the reading end of a pipe that a child of some generation writes
// into.
type Pipe struct {
	Generation int
	Stream     Stream
	File       *os.File
}

// Detach stops reading what children write and returns the pipes: what they
// write from now on stays in the kernel. What was read is where it belongs
// then, as far as that can be written within two seconds. The caller owns the
// files, for Attach here or in another program; it must not be called while
// pipes are opened.
func (l *Log) Detach() ([]Pipe, error) {
	all, ends, err := l.takePipes()
	for _, end := range ends {
		<-end
	}
	l.sinks.flush()
	return all, err
}

// takePipes makes duplicates of all open pipes and ends their pumps, for which
// the channels are to be waited.
func (l *Log) takePipes() (all []Pipe, ends []<-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for generation, p := range l.pipes {
		for r, stream := range p.open {
			file, failed := duplicate(r)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("keep %s: %w", r.Name(), failed))
				continue
			}
			all = append(all, Pipe{generation, stream, file})
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

// flush returns when all lines are written, or their writer does not move.
func (ss *sinks) flush() {
	ss.log.mu.Lock()
	former := ss.renew()
	ss.log.mu.Unlock()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	for _, s := range former {
		select {
		case <-s.gone:
		case <-patience.C:
			return
		}
	}
}

// renew puts fresh sinks in the place of all, which end when they have written
// what there is.
func (ss *sinks) renew() (former []*sink) {
	for _, k := range []kind{toWriter, toFile, toJournal} {
		if s := ss.of(k); s != nil {
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
