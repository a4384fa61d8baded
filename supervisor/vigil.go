package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// What exit_when may say beside "never".
const (
	exitFailed = "failed" // when an app has failed
	exitDone   = "done"   // when all apps that were started are done or have failed
)

// vigil ends the daemon when its apps have come to an end: the setting
// exit_when. The apps' goroutines tell it how they stand; it waits for nobody.
type vigil struct {
	when  string
	alone bool            // run -- COMMAND
	leave func()          // begins the shutdown
	left  context.Context // ended: the shutdown has begun

	mu    sync.Mutex
	stand map[string]standing
	cause *api.Error // why the daemon ends by itself; nil: it does not, or all is done
}

func newVigil(when string, alone bool, leave func(), left context.Context) *vigil {
	return &vigil{when: when, alone: alone, leave: leave, left: left, stand: map[string]standing{}}
}

// standing is how one app is, as far as exit_when is concerned.
type standing struct {
	state  standingState
	reason string
}

type standingState int

const (
	atWork   standingState = iota
	idle                   // by the operator's wish, or never started
	complete               // done
	broken                 // failed
)

// see is told how an app stands.
func (v *vigil) see(app string, s *snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := standing{atWork, s.reason}
	switch {
	case s.failed:
		now.state = broken
	case s.rest == bidden:
		now.state = idle
	case s.rest == ended:
		now.state = complete
	}
	if before, known := v.stand[app]; known && before == now {
		return
	}
	v.stand[app] = now
	v.consider()
}

// forget is told that there is no such app any more.
func (v *vigil) forget(app string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.stand, app)
	v.consider()
}

// consider ends the daemon when it is time.
func (v *vigil) consider() {
	if v.left.Err() != nil {
		return
	}
	count := map[standingState]int{}
	var failed error
	for _, app := range slices.Sorted(maps.Keys(v.stand)) {
		s := v.stand[app]
		if count[s.state]++; s.state == broken && failed == nil {
			failed = fmt.Errorf("%s has failed: %s", app, s.reason)
		}
	}
	switch {
	case v.when == exitFailed && failed != nil:
	case v.when == exitDone && count[atWork] == 0 && count[complete]+count[broken] > 0:
	default:
		return
	}
	if failed != nil {
		v.cause = api.Errorf(api.ExitError, "%v; tideover ends, as exit_when = %q says", failed, v.when)
	}
	v.leave()
}

// hopeless ends the daemon, and reports so, when the one command there is
// cannot be started at all, the first time that it is tried: it can never have
// worked, so who typed it is told at once.
func (v *vigil) hopeless(a *App, b *boot) bool {
	var why *api.Error
	if !v.alone || b.awaited || a.comeback.unanswered > 0 || a.comeback.crashes > 0 || !neverWorks(b.err) || !errors.As(b.err, &why) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cause = why
	v.leave()
	return true
}

// neverWorks reports whether a start failed for what another try would not
// change: no such program, directory or user, or no right to them.
func neverWorks(err error) bool {
	var step *process.StartError
	if !errors.As(err, &step) || !slices.Contains([]string{"exec", "directory", "user"}, step.Step) {
		return false
	}
	var errno syscall.Errno
	return !errors.As(err, &errno) || !slices.Contains([]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ETXTBSY, syscall.EIO}, errno)
}

// verdict is how the daemon ended.
func (v *vigil) verdict() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause == nil {
		return nil
	}
	return v.cause
}
