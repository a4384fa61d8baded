package supervisor

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// accessLog is where the lines of an app's requests go: by a pipe from the relay to a file of their own,
// or among the app's output. The app's goroutine owns it.
type accessLog struct {
	own  atomic.Pointer[logs.Copier] // nil: the lines are among the output, or there are none
	pipe *os.File                    // the write end, for the relay; nil: no request has a line

	dropped atomic.Uint64 // lines that former files have not got
}

// configureAccess opens or closes the access log as cfg says, before the relay has the settings.
func (a *App) configureAccess(cfg *config.App) {
	if a.relay == nil {
		return
	}
	on, file := cfg.Log.Access != "off" && cfg.Log.Access != "", accessFile(cfg)
	own := a.access.own.Load()
	if !on || (own != nil) != (file.Path != "") {
		a.closeAccess()
		own = nil
	}
	if !on {
		return
	}
	if own != nil {
		own.Configure(file)
	}
	if a.access.pipe != nil {
		return
	}
	pipe, err := a.openAccess(file)
	if err != nil {
		a.logger.Error("cannot open access log", "app", a.name, "error", err)
		return
	}
	if raw, err := pipe.SyscallConn(); err == nil { // else a write of the relay could block
		raw.Control(func(fd uintptr) { unix.SetNonblock(int(fd), true) })
	}
	a.access.pipe = pipe
	a.relay.setAccess(pipe)
}

// openAccess returns the write end of a new pipe.
func (a *App) openAccess(file logs.FileOptions) (*os.File, error) {
	if file.Path == "" {
		return a.log.Pipe(0, logs.Access)
	}
	own, pipe, err := logs.NewCopier("access log of "+a.name, file, func(text string) { a.log.Note(0, "access log: %s", text) })
	if err == nil {
		a.access.own.Store(own)
	}
	return pipe, err
}

// closeAccess ends the access log. What the relay has written is in the file when it returns.
func (a *App) closeAccess() {
	if a.access.pipe != nil {
		a.relay.setAccess(nil) // the relay writes its last lines
		a.access.pipe.Close()
		a.access.pipe = nil
	}
	if own := a.access.own.Swap(nil); own != nil {
		if err := own.Close(); err != nil {
			a.logger.Warn("output lost", "app", a.name, "error", err)
		}
		a.access.dropped.Add(own.Dropped())
	}
}

// linesDropped is how many lines of the output and of the access log were dropped.
func (a *App) linesDropped() uint64 {
	n := a.log.Dropped() + a.relay.metrics().AccessDropped + a.access.dropped.Load()
	if own := a.access.own.Load(); own != nil {
		n += own.Dropped()
	}
	return n
}

// accessFile is the file of the access log, which is rotated as the one of the output.
func accessFile(cfg *config.App) logs.FileOptions {
	file := logFile(cfg)
	file.Path = cfg.Log.AccessFile
	return file
}
