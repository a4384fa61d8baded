package daemon

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/supervisor"
	"tideover/supervisor/control"
)

// handledSignals are the signals that mean something to the daemon.
var handledSignals = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU,
}

// handleSignals carries out what signals ask for, until ended is done.
func (d *daemon) handleSignals(ended context.Context, sup *supervisor.Supervisor, signals <-chan os.Signal,
	systemd *notifier, socket *control.Socket) {
	var background sync.WaitGroup // reloads and upgrades
	defer background.Wait()
	interrupted := false
	for {
		select {
		case <-ended.Done():
			return
		case s := <-signals:
			d.logger.Info("signal received", "signal", strings.TrimPrefix(unix.SignalName(s.(syscall.Signal)), "SIG"))
			switch s {
			case syscall.SIGHUP:
				if d.tty.lost() {
					d.logger.Info("terminal closed")
					sup.Shutdown(false)
					continue
				}
				background.Go(func() { systemd.reloading(func() { d.applyAndReload(ended, sup) }) })
			case syscall.SIGINT:
				sup.Shutdown(interrupted)
				interrupted = true
			case syscall.SIGTERM:
				sup.Shutdown(false)
			case syscall.SIGQUIT:
				sup.Shutdown(true)
			case syscall.SIGUSR1:
				if err := sup.Reopen(); err != nil {
					d.logger.Error("cannot reopen log files", "error", err)
				}
			case syscall.SIGUSR2:
				background.Go(func() { systemd.reloading(func() { d.upgrade(ended, sup, socket) }) })
			case syscall.SIGTTIN, syscall.SIGTTOU:
				if err := forwardSignal(sup, s.(syscall.Signal)); err != nil {
					d.logger.Error("cannot forward signal", "error", err)
				}
			}
		}
	}
}

// forwardSignal sends the signal to the main process when there is one app.
// With several apps it is ignored.
func forwardSignal(sup *supervisor.Supervisor, s syscall.Signal) error {
	if len(sup.Apps()) != 1 {
		return nil
	}
	return sup.Signal("", s)
}
