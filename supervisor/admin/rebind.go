package admin

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"tideover/listener"
	"tideover/supervisor/pathwatch"
)

// pathInterval is the time between two checks of the file of a unix socket that cannot be bound
// again yet, or whose directory cannot be watched.
const pathInterval = time.Second

// files are the files of the unix sockets. They belong to Run's goroutine.
type files struct {
	watcher       *pathwatch.Watcher // nil: not needed yet, or inotify does not work
	admin, socket *pathwatch.Path    // nil: TCP, or none
	logged        string             // the error that was logged last
}

// watch begins to watch the files of these sockets.
func (f *files) watch(sockets map[endpoint]*listener.Public) {
	for at, path := range map[endpoint]**pathwatch.Path{adminEndpoint: &f.admin, socketEndpoint: &f.socket} {
		socket := sockets[at]
		if socket == nil || !socket.HasPath() {
			continue
		}
		if f.watcher == nil {
			f.watcher, _ = pathwatch.New() // after an error the files are checked every second
		}
		*path = f.watcher.Watch(socket.Address().Address)
	}
}

// renew is called before each check of the files, so that no change is missed. It reports whether
// all of them are watched.
func (f *files) renew() bool {
	all := true
	for _, path := range []*pathwatch.Path{f.admin, f.socket} {
		if path != nil && !path.Renew() {
			all = false
		}
	}
	return all
}

func (f *files) stop() {
	for _, path := range []*pathwatch.Path{f.admin, f.socket} {
		if path != nil {
			path.Stop()
		}
	}
	f.admin, f.socket = nil, nil
}

func (f *files) close() { f.watcher.Close() }

// changed returns the channel of a path that may be nil.
func changed(path *pathwatch.Path) <-chan struct{} {
	if path == nil {
		return nil
	}
	return path.Changed
}

// attend gives p the sockets that are bound again, until p has ended, ctx has, or the process is to
// have others: then it returns true.
func (k *Keeper) attend(ctx context.Context, p *roleProcess) bool {
	k.mu.Lock()
	k.files.watch(k.sockets)
	k.mu.Unlock()
	defer k.files.stop()
	for {
		watched := k.files.renew()
		var later <-chan time.Time
		if !k.rebind(p) || !watched {
			later = time.After(pathInterval)
		}
		select {
		case <-changed(k.files.admin):
		case <-changed(k.files.socket):
		case <-later:
		case <-p.exited:
			return false
		case <-k.changed:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// rebind binds unix sockets again whose files were removed or replaced: clients find a socket by its
// file only. It reports whether all files are there.
func (k *Keeper) rebind(p *roleProcess) bool {
	fresh, former, err := k.rebindAll()
	switch {
	case err == nil:
		k.files.logged = ""
	case err.Error() != k.files.logged:
		k.files.logged = err.Error()
		k.options.Logger.Error("cannot bind admin socket again", "error", err, "hint", "clients cannot connect; it is tried again every second")
	}
	for at, socket := range fresh {
		k.options.Logger.Warn("admin socket bound again", "address", socket.Address(), "hint", "its file was removed or replaced")
		if err := p.sendDoor(at, socket); err != nil {
			p.kill() // the next one gets it
		}
	}
	for _, socket := range former {
		socket.Close() // p accepts for formerTime from its duplicate
	}
	return err == nil
}

// rebindAll returns the new sockets, and those in whose place they are.
func (k *Keeper) rebindAll() (fresh map[endpoint]*listener.Public, former []*listener.Public, failed error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fresh = map[endpoint]*listener.Public{}
	for at, socket := range k.sockets {
		made, err := socket.Rebind()
		if err != nil {
			failed = err
		}
		if made != nil {
			fresh[at], former = made, append(former, socket)
			k.sockets[at] = made
		}
	}
	return fresh, former, failed
}

// sameAccess reports whether the file of the unix socket has the same mode and owner.
func (a Addresses) sameAccess(b Addresses) bool {
	return a.SocketMode == b.SocketMode && a.SocketUID == b.SocketUID && a.SocketGID == b.SocketGID
}

// setAccess gives the file of a unix socket its mode and owner. Both follow the descriptor of the
// file, so that a file which another process has put at the path is not changed.
func setAccess(socket *listener.Public, to Addresses) error {
	file := socket.PathFile()
	if file == nil {
		return nil
	}
	path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if err := os.Chown(path, to.SocketUID, to.SocketGID); err != nil {
		return err
	}
	return os.Chmod(path, cmp.Or(to.SocketMode, 0o700))
}
