package main

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// watchedLog is what a process wrote, and a way to wait for words in it.
type watchedLog struct {
	mu     sync.Mutex // guards what follows
	grown  *sync.Cond
	text   bytes.Buffer
	closed bool
}

func newWatchedLog() *watchedLog {
	l := &watchedLog{}
	l.grown = sync.NewCond(&l.mu)
	return l
}

func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grown.Broadcast()
	return l.text.Write(p)
}

func (l *watchedLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.grown.Broadcast()
}

func (l *watchedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// patience is how long words may take on a machine that has other work.
const patience = 30 * time.Second

// await returns true when the words are there, false when they will not come
// any more.
func (l *watchedLog) await(words string) bool {
	late := false
	timer := time.AfterFunc(patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.grown.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.text.String(), words) {
		if l.closed || late {
			return false
		}
		l.grown.Wait()
	}
	return true
}
