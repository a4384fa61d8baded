package daemon

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor"
	"tideover/supervisor/api"
)

// handledSignals are the signals that mean something to the daemon.
var handledSignals = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU,
}

// signalQueue has a channel of capacity 1 for each signal: a signal that comes again before
// it is handled is one, as in the kernel, and any number of one signal displaces no other.
type signalQueue map[syscall.Signal]chan os.Signal

// receiveSignals makes the handled signals arrive in a queue.
func receiveSignals() signalQueue {
	q := signalQueue{}
	for _, s := range handledSignals {
		q[s] = make(chan os.Signal, 1)
		signal.Notify(q[s], s)
	}
	return q
}

// signals are those of the supervision, which has begun before, or of this process.
func (d *daemon) signals() signalQueue {
	if d.Supervision != nil {
		return d.Supervision.signals
	}
	return receiveSignals()
}

// terminalClosed reports whether the monitor's terminal was closed.
func (d *daemon) terminalClosed() bool {
	return d.Supervision != nil && d.Supervision.terminalClosed.Load()
}

func (q signalQueue) stop() {
	for _, c := range q {
		signal.Stop(c)
	}
}

// coalescer carries out requests for one action, one at a time. Requests that come before
// one has begun are one: at most one is carried out, and one waits.
type coalescer chan struct{}

func newCoalescer() coalescer { return make(coalescer, 1) }

// add requests the action. It reports false if a request waits already.
func (c coalescer) add() bool {
	select {
	case c <- struct{}{}:
		return true
	default:
		return false
	}
}

// serve carries out the requests until ended is done.
func (c coalescer) serve(ended context.Context, action func()) {
	for {
		select {
		case <-ended.Done():
			return
		case <-c:
			action()
		}
	}
}

// handleStopSignals carries out TERM, INT and QUIT until ended is done. It waits for
// nothing, and begins before the supervisor exists.
func (d *daemon) handleStopSignals(ended context.Context, signals signalQueue) {
	interrupted := false
	for {
		select {
		case <-ended.Done():
			return
		case s := <-signals[syscall.SIGTERM]:
			d.logStopSignal(s)
			d.shutdown.begin(false)
		case s := <-signals[syscall.SIGINT]:
			d.logStopSignal(s)
			d.shutdown.begin(interrupted)
			interrupted = true
		case s := <-signals[syscall.SIGQUIT]:
			d.logStopSignal(s)
			d.shutdown.begin(true)
		}
	}
}

// handleSignals carries out what the other signals ask for, until ended is done. What may
// wait has a goroutine of its own.
func (d *daemon) handleSignals(ended context.Context, sup *supervisor.Supervisor, signals signalQueue, systemd *notifier) {
	var background sync.WaitGroup
	defer background.Wait()
	reloads, upgrades, reopens := newCoalescer(), newCoalescer(), newCoalescer()
	background.Go(func() {
		reloads.serve(ended, func() { systemd.reloading(func() { d.applyAndReload(ended, sup, "signal HUP") }) })
	})
	background.Go(func() {
		upgrades.serve(ended, func() {
			systemd.reloading(func() { _ = d.upgrade(sup, api.UpgradeRequest{ID: rand.Text(), By: api.Caller{Via: "signal USR2"}}) })
		})
	})
	background.Go(func() { reopens.serve(ended, func() { d.reopenLogs(sup) }) })
	for {
		select {
		case <-ended.Done():
			return
		case s := <-signals[syscall.SIGHUP]:
			switch {
			case d.tty.lost(), d.terminalClosed():
				d.logSignal(s)
				d.logger.Info("terminal closed")
				d.shutdown.begin(false)
			case reloads.add():
				d.logSignal(s)
			}
		case s := <-signals[syscall.SIGUSR1]:
			if reopens.add() {
				d.logSignal(s)
			}
		case s := <-signals[syscall.SIGUSR2]:
			if upgrades.add() {
				d.logSignal(s)
			}
		case s := <-signals[syscall.SIGTTIN]:
			d.forwardSignal(sup, s)
		case s := <-signals[syscall.SIGTTOU]:
			d.forwardSignal(sup, s)
		}
	}
}

// logStopSignal is logSignal for a signal that ends the daemon: from here on the view says what
// happens.
func (d *daemon) logStopSignal(s os.Signal) {
	if d.hasView() {
		d.logger.SetLevel(hclog.Warn)
	}
	d.logSignal(s)
}

func (d *daemon) logSignal(s os.Signal) {
	d.logger.Info("signal received", "signal", strings.TrimPrefix(unix.SignalName(s.(syscall.Signal)), "SIG"))
}

func (d *daemon) reopenLogs(sup *supervisor.Supervisor) {
	if err := sup.Reopen(); err != nil {
		d.logger.Error("cannot reopen log files", "error", err)
	}
}

// forwardSignal sends the signal to the main process when there is one app.
// With several apps it is ignored.
func (d *daemon) forwardSignal(sup *supervisor.Supervisor, s os.Signal) {
	d.logSignal(s)
	if len(sup.Apps()) != 1 {
		return
	}
	if err := sup.Signal("", s.(syscall.Signal)); err != nil {
		d.logger.Error("cannot forward signal", "error", err)
	}
}
