package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
)

// accessLog is where the lines of an app's requests go: by a pipe from the relay to a file of their own,
// or among the app's output. The app's goroutine owns it.
type accessLog struct {
	own  atomic.Pointer[logs.Copier] // nil: the lines are among the output, or there are none
	pipe *os.File                    // the write end, for the relay; nil: no request has a line

	former []*os.File // read ends of a supervisor that has died, until a pipe is open
	kept   []string   // names of read ends in the Store, the one in use the last

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
		a.releaseAccess()
		return
	}
	if own != nil {
		own.Configure(file)
	}
	if a.access.pipe != nil {
		return
	}
	read, pipe, err := a.openAccess(file)
	if err != nil {
		a.logger.Error("cannot open access log", "app", a.name, "error", err)
		return
	}
	a.keepAccess(read)
	read.Close()
	if raw, err := pipe.SyscallConn(); err == nil { // else a write of the relay could block
		raw.Control(func(fd uintptr) { unix.SetNonblock(int(fd), true) })
	}
	a.access.pipe = pipe
	a.relay.setAccess(pipe)
}

// openAccess returns a duplicate of the read end of a new pipe, and its write end. What former pipes have
// goes where its lines go.
func (a *App) openAccess(file logs.FileOptions) (read, write *os.File, err error) {
	former := a.access.former
	a.access.former = nil
	if file.Path == "" {
		if read, write, err = a.log.KeptPipe(0, logs.Access); err == nil {
			for _, f := range former {
				_ = a.log.Attach(logs.Pipe{Stream: logs.Access, File: f}) // an error: it would have been that of KeptPipe
			}
		}
		return read, write, err
	}
	own, write, err := logs.NewCopier("access log of "+a.name, file, func(text string) { a.log.Note(0, "access log: %s", text) }, former...)
	if err != nil {
		return nil, nil, err
	}
	if read, err = own.KeptPipe(); err != nil {
		write.Close()
		return nil, nil, errors.Join(err, own.Close())
	}
	a.access.own.Store(own)
	return read, write, nil
}

// keepAccess keeps the read end of the pipe for a later supervisor: the relay writes while there is none. The
// pipe before it is kept, too, because it may not have been read to its end.
func (a *App) keepAccess(read *os.File) {
	if a.store == nil {
		return
	}
	name := fmt.Sprintf("access/%d/%s", a.journal.record.ID, rand.Text())
	if err := a.store.Put(context.Background(), name, read); err != nil {
		a.logger.Warn("cannot keep a descriptor", "name", name, "error", err)
		return
	}
	unneeded := a.access.kept[:max(0, len(a.access.kept)-1)]
	a.access.kept = append(a.access.kept[len(unneeded):len(a.access.kept):len(a.access.kept)], name)
	a.journal.change(func(r *handoff.AppRecord) { r.Access = a.access.kept })
	_ = a.store.Drop(context.Background(), unneeded...) // a later supervisor drops what no record names
}

// releaseAccess drops what keepAccess has kept.
func (a *App) releaseAccess() {
	for _, f := range a.access.former {
		f.Close()
	}
	a.access.former = nil
	if len(a.access.kept) > 0 {
		a.journal.change(func(r *handoff.AppRecord) { r.Access = nil })
		_ = a.store.Drop(context.Background(), a.access.kept...) // a later supervisor drops what no record names
		a.access.kept = nil
	}
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
