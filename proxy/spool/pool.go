package spool

import (
	"errors"
	"os"
	"sync"
)

// poolSize is how many files a Pool keeps ready. A spool uses one at a time, and another one while
// the former is being emptied.
const poolSize = 4

// errNoFile says that no file is at hand: one is being fetched. It is no failure of the disk.
var errNoFile = errors.New("no file of the spool is at hand")

// A Pool has unlinked files for a process that may open none. Another process opens them ahead of
// their use. A file that nothing uses any more is emptied and used again, so that a pool that was
// filled once goes on while that other process does not answer.
//
// Its methods Open and Close are those of Options, and may be called from any goroutine.
type Pool struct {
	fetch func() (*os.File, error)

	mu       sync.Mutex
	ready    []*os.File // empty ones
	fetching bool       // fill runs
	err      error      // of the last fetch
}

// NewPool returns a pool that calls fetch for each file that it lacks, on a goroutine, one call at a
// time. It begins with the first Renew.
func NewPool(fetch func() (*os.File, error)) *Pool { return &Pool{fetch: fetch} }

// Open returns an empty file. It does not wait: where none is at hand the error is errNoFile, or
// why the last one could not be fetched.
func (p *Pool) Open() (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.fillLocked()
	last := len(p.ready) - 1
	if last < 0 {
		if p.err != nil {
			return nil, p.err
		}
		return nil, errNoFile
	}
	f := p.ready[last]
	p.ready = p.ready[:last]
	return f, nil
}

// Close takes a file back, which is emptied. After a failure the file is closed, and all that are
// ready are, too: they are on the same disk, or on one that is not mounted any more.
func (p *Pool) Close(f *os.File, failed bool) {
	empty := !failed && f.Truncate(0) == nil
	if !empty {
		f.Close() // takes as long as the disk does
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !empty:
		p.renewLocked()
	case len(p.ready) >= poolSize:
		f.Close()
	default:
		p.ready = append(p.ready, f)
	}
	p.fillLocked()
}

// Renew closes the files that are at hand, and has new ones fetched: they may be in another
// directory.
func (p *Pool) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renewLocked()
	p.fillLocked()
}

func (p *Pool) renewLocked() {
	for _, f := range p.ready {
		f.Close()
	}
	p.ready = nil
}

// fillLocked has files fetched until the pool is full, or a fetch fails; then the next Open or
// Close begins again. p.mu must be held.
func (p *Pool) fillLocked() {
	if !p.fetching && len(p.ready) < poolSize {
		p.fetching = true
		go p.fill()
	}
}

func (p *Pool) fill() {
	for {
		f, err := p.fetch()
		p.mu.Lock()
		if p.err = err; err == nil {
			p.ready = append(p.ready, f)
		}
		if err != nil || len(p.ready) >= poolSize {
			p.fetching = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}
