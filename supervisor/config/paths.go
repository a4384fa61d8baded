package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tideover/supervisor/safepath"
)

// PathAccess says how a daemon that runs as root opens a file of an app.
type PathAccess struct {
	App   string `json:"app"`
	Key   string `json:"key"`
	Path  string `json:"path"`
	As    string `json:"as"`              // name of the user
	Cause string `json:"cause,omitempty"` // why not as root
}

// appPath is a path in the settings of an app that the daemon opens.
type appPath struct {
	key, path string
	part      []string // the element of a list
}

// openedPaths returns the paths of an app that the daemon itself opens, or binds.
func (a *App) openedPaths() []appPath {
	var all []appPath
	for _, p := range []appPath{{key: "log.file", path: a.Log.File}, {key: "log.access_file", path: a.Log.AccessFile}, {key: "hold.page", path: a.Hold.Page}} {
		if p.path != "" {
			all = append(all, p)
		}
	}
	for i, path := range a.EnvFile {
		all = append(all, appPath{"env_file", strings.TrimPrefix(path, "-"), []string{strconv.Itoa(i)}})
	}
	for i, path := range a.Watch.Files {
		all = append(all, appPath{"watch.files", path, []string{strconv.Itoa(i)}})
	}
	for i, address := range a.Listen {
		path, ok := strings.CutPrefix(address, "unix:")
		switch {
		case ok && a.ListenFrom == fromListen:
			all = append(all, appPath{"listen", path, []string{strconv.Itoa(i)}})
		case ok:
			all = append(all, appPath{key: "command", path: path})
		}
	}
	return all
}

// PathAccess returns how root opens the paths of every app. It is empty for another user,
// because a daemon of that user opens them all with its own rights.
func (f *File) PathAccess() []PathAccess {
	var all []PathAccess
	if os.Geteuid() != 0 {
		return all
	}
	for _, a := range f.Apps {
		opener, err := a.Opener()
		if err != nil {
			continue // Inspect reports it
		}
		for _, p := range a.openedPaths() {
			access, err := opener.Access(p.path)
			if err != nil {
				continue // Inspect reports it, too
			}
			one := PathAccess{App: a.Name, Key: p.key, Path: p.path, As: "root"}
			if access.As != "" {
				one.As, one.Cause = access.As, access.Cause.Error()
			}
			all = append(all, one)
		}
	}
	return all
}

// checkDaemonPaths reports the paths of the daemon itself that root will not use, because others
// can change them.
func (i *inspector) checkDaemonPaths(f *File) {
	if i.euid != 0 || f.main == nil {
		return
	}
	d := f.Daemon
	admin, _ := strings.CutPrefix(d.Admin, "unix:")
	if admin == d.Admin {
		admin = "" // TCP
	}
	for _, p := range []struct {
		table, key, path string
		dir              bool
	}{
		{"daemon", "socket", d.Socket, false}, {"daemon", "state_dir", d.StateDir, true}, {"daemon", "runtime_dir", d.RuntimeDir, true},
		{"daemon", "pidfile", d.Pidfile, false}, {"daemon", "spool_dir", d.SpoolDir, true}, {"daemon", "admin", admin, false},
		{"daemon", "supervisor_socket", d.Supervisor.Socket, false}, {"daemon", "supervisor_password_file", d.Supervisor.PasswordFile, false},
		{"daemon.admin_auth", "token_file", d.AdminAuth.TokenFile, false},
		{"fleet", "ca", f.Fleet.CA, false}, {"fleet", "cert", f.Fleet.Cert, false}, {"fleet", "key", f.Fleet.Key, false},
		{"fleet", "password_file", f.Fleet.PasswordFile, false},
	} {
		file := p.path
		if p.dir {
			file = filepath.Join(file, "x")
		}
		if p.path == "" || p.key == "spool_dir" && d.Spool == 0 {
			continue
		}
		if _, err := (safepath.Opener{}).Access(file); err != nil {
			i.found = append(i.found, f.main.problem(f.main.find(append(strings.Split(p.table, "."), p.key)).key, fmt.Sprintf("%s: %s", p.path, reason(err))))
		}
	}
}

// checkPaths reports the paths that root will not open, because others can change them and
// the app runs as root, and logs that cannot be written.
func (i *inspector) checkPaths(d *draft, report func(finding)) {
	opener, err := d.Opener()
	if i.euid != 0 || err != nil {
		return
	}
	for _, p := range d.openedPaths() {
		if p.key == "watch.files" {
			continue // they are only looked at
		}
		if _, err := opener.Access(p.path); err != nil {
			i.found = append(i.found, d.locate(finding{key: p.key, part: p.part, message: fmt.Sprintf("%s: %s", p.path, reason(err))}))
			continue
		}
		if p.key != "log.file" && p.key != "log.access_file" {
			continue
		}
		if err := opener.ProbeLog(p.path); err != nil {
			report(finding{key: p.key, message: fmt.Sprintf("%s cannot be written: %s", p.path, reason(err))})
		}
	}
}
