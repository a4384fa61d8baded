package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/safepath"
)

// Inspect compares a configuration with this machine. It reports users that do not
// exist or cannot read what they run, missing directories and commands, secrets in
// world-readable files, and apps that run as root. A user that does not exist is an error; the
// others are warnings, because they may be there after a later deployment. It changes nothing,
// and sees what the effective user can see.
func (f *File) Inspect() []Problem {
	i := inspector{euid: os.Geteuid(), identify: remembered(lookupUser)}
	return i.inspect(f)
}

// missingUsers are the errors among what Inspect reports.
func (f *File) missingUsers() []Problem {
	i := inspector{identify: remembered(lookupUser)}
	for _, d := range f.drafts {
		if d.User != "" || d.Group != "" {
			i.lookUp(d)
		}
	}
	return i.found
}

// CannotStart reports what keeps apps from being started on this machine by the effective user:
// users that do not exist, directories and commands that are missing or that the user cannot read.
func (f *File) CannotStart() []Problem {
	i := inspector{euid: os.Geteuid(), identify: remembered(lookupUser)}
	for _, d := range f.drafts {
		add := func(f finding) { i.found = append(i.found, d.locate(f)) }
		user, known := i.checkUser(d, add)
		if i.checkDirectory(d.App, add) && known {
			i.checkAccess(d.App, user, add)
		}
		i.checkSocketDirs(d.App, add)
	}
	return NewError(i.found).Problems
}

// remembered looks each user and group up once: each look reads all of /etc/passwd.
func remembered(identify func(user, group string) (identity, error)) func(user, group string) (identity, error) {
	type answer struct {
		identity identity
		err      error
	}
	known := map[[2]string]answer{}
	return func(user, group string) (identity, error) {
		names := [2]string{user, group}
		a, ok := known[names]
		if !ok {
			a.identity, a.err = identify(user, group)
			known[names] = a
		}
		return a.identity, a.err
	}
}

type inspector struct {
	euid     int
	identify func(user, group string) (identity, error)
	found    []Problem
	asRoot   []*draft // the apps that run as root
}

func (i *inspector) inspect(f *File) []Problem {
	for _, d := range f.drafts {
		i.inspectApp(d)
	}
	i.warnOfRoot()
	i.checkDaemonPaths(f)
	return NewError(i.found).Problems
}

// warnOfRoot warns once of all apps that run as root, at the first of them.
func (i *inspector) warnOfRoot() {
	if len(i.asRoot) == 0 {
		return
	}
	message := "the app runs as root"
	if n := len(i.asRoot); n > 1 {
		message = fmt.Sprintf("this app and %d more run as root", n-1)
	}
	i.found = append(i.found, i.asRoot[0].locate(finding{key: "user", message: message, warning: true,
		hint: `give it a user of its own, such as user = "www-data"`}))
}

func (i *inspector) inspectApp(d *draft) {
	warn := func(f finding) {
		f.warning = true
		i.found = append(i.found, d.locate(f))
	}
	user, known := i.checkUser(d, warn)
	if i.checkDirectory(d.App, warn) && known {
		i.checkAccess(d.App, user, warn)
	}
	if known {
		i.checkPaths(d, warn)
	}
	i.checkWatched(d.App, warn)
	i.checkSocketDirs(d.App, warn)
	i.checkSecrets(d, warn)
}

// lookUp returns the user that the app runs as. It is an error if it does not exist.
func (i *inspector) lookUp(d *draft) (identity, bool) {
	user, err := i.identify(d.User, d.Group)
	if err == nil {
		return user, true
	}
	key := "user"
	if _, found := i.identify(d.User, ""); d.Group != "" && found == nil {
		key = "group"
	}
	i.found = append(i.found, d.locate(finding{key: key, message: err.Error(), hint: "create it, or name another " + key}))
	return user, false
}

// checkUser returns the user that the app runs as, and false if it does not exist.
func (i *inspector) checkUser(d *draft, warn func(finding)) (identity, bool) {
	user, known := i.lookUp(d)
	switch {
	case !known:
	case i.euid != 0 && int(user.uid) != i.euid:
		warn(finding{key: "user", message: "only root can run an app as " + user.name, hint: "run tideover as root or as " + user.name})
	case user.uid == 0:
		i.asRoot = append(i.asRoot, d)
	}
	return user, known
}

// checkDirectory reports whether the directory of the app exists.
func (i *inspector) checkDirectory(a *App, warn func(finding)) bool {
	info, err := os.Stat(a.Directory)
	switch {
	case err != nil:
		warn(finding{key: "directory", message: fmt.Sprintf("the directory %s cannot be entered: %s", a.Directory, withoutPath(err))})
		return false
	case !info.IsDir():
		warn(finding{key: "directory", message: a.Directory + " is not a directory"})
		return false
	}
	return true
}

// checkAccess checks that a user can enter the directory and run the command.
func (i *inspector) checkAccess(a *App, user identity, warn func(finding)) {
	if at, ok := user.canEnter(a.Directory); !ok {
		warn(finding{key: "directory", message: fmt.Sprintf("%s cannot read the directory %s", user.name, a.Directory),
			hint: fmt.Sprintf("%s has mode %s", at, modeDigits(at))})
		return
	}
	if len(a.Command) == 0 || !strings.Contains(a.Command[0], "/") {
		return
	}
	program := absolute(a.Directory, a.Command[0])
	info, err := os.Stat(program)
	switch {
	case err != nil:
		warn(finding{key: "command", part: []string{"0"}, message: fmt.Sprintf("%s cannot be run: %s", program, withoutPath(err))})
	case !info.Mode().IsRegular() || !user.canAccess(info, execute) || info.Mode().Perm()&0o111 == 0:
		warn(finding{key: "command", part: []string{"0"}, message: fmt.Sprintf("%s cannot run %s", user.name, program), hint: fmt.Sprintf("it has mode %s", modeDigits(program))})
	}
}

// checkWatched warns of a pattern that no file matches: a reload that never comes is not noticed.
func (i *inspector) checkWatched(a *App, warn func(finding)) {
	opener, err := a.Opener()
	if err != nil || !slices.ContainsFunc(a.Watch.Files, safepath.HasPattern) {
		return
	}
	watches, err := opener.Watches(a.Watch.Files)
	for n, w := range watches {
		if path := a.Watch.Files[n]; err == nil && safepath.HasPattern(path) && len(w.Files) == 0 {
			warn(finding{key: "watch.files", part: []string{fmt.Sprint(n)}, message: "no file matches " + path})
		}
	}
}

// checkSocketDirs checks that the directories of unix sockets exist.
func (i *inspector) checkSocketDirs(a *App, warn func(finding)) {
	for n, l := range a.Listen {
		path, ok := strings.CutPrefix(l, "unix:")
		if !ok {
			continue
		}
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			f := finding{key: "command", message: fmt.Sprintf("there is no directory %s for the socket", dir)}
			if a.ListenFrom == fromListen {
				f.key, f.part = "listen", []string{fmt.Sprint(n)}
			}
			warn(f)
		}
	}
}

// checkSecrets looks for secrets in world-readable files.
func (i *inspector) checkSecrets(d *draft, warn func(finding)) {
	add := func(key string, part []string, path, what string) {
		warn(finding{key: key, part: part, secret: true, message: fmt.Sprintf("every user of this machine can read %s in %s", what, path), hint: "chmod 640 " + path})
	}
	names := secretNames(d.Env)
	if s, ok := d.written["env"]; ok && len(names) > 0 && s.src.worldReadable() {
		add("env", nil, s.src.path, strings.Join(names, ", "))
	}
	if s, ok := d.written["command"]; ok && slices.ContainsFunc(d.Command, holdsPassword) && s.src.worldReadable() {
		add("command", nil, s.src.path, "the command's password")
	}
	for n, file := range readEnvFiles("", d.App)[d.App] {
		set, err := file.variables()
		if names := secretNames(set); err == nil && len(names) > 0 && worldReadable(file.path, file.Mode) {
			add("env_file", []string{fmt.Sprint(n)}, file.path, strings.Join(names, ", "))
		}
	}
}

func (s *source) worldReadable() bool { return worldReadable(s.path, s.info.Mode()) }

// worldReadable reports whether every user can read a file with this mode.
func worldReadable(path string, mode fs.FileMode) bool {
	_, reachable := otherUsers.canEnter(filepath.Dir(path))
	return mode&read != 0 && reachable
}

// modeDigits returns the permissions of a file as four octal digits.
func modeDigits(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return cmp.Or(withoutPath(err).Error(), "unknown")
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}
