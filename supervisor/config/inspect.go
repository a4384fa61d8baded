package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Inspect compares a configuration with this machine: users that do not exist
// or may not read what they run, directories and commands that are not there,
// secrets that everybody can read, apps that run as root. All are warnings at
// their places, because the file may be meant for another machine, or what is
// missing for a later deployment. It only looks, as the caller's own user.
func (f *File) Inspect() []Problem {
	i := inspector{euid: os.Geteuid(), identify: identify}
	return i.inspect(f)
}

type inspector struct {
	euid     int
	identify func(user, group string) (identity, error)
	found    []Problem
}

func (i *inspector) inspect(f *File) []Problem {
	for _, d := range f.drafts {
		i.app(d)
	}
	sortProblems(i.found)
	return i.found
}

func (i *inspector) app(d *draft) {
	warn := func(f finding) {
		f.warning = true
		i.found = append(i.found, d.place(f))
	}
	who, known := i.user(d.App, warn)
	if i.directory(d.App, warn) && known {
		i.reading(d.App, who, warn)
	}
	i.sockets(d.App, warn)
	i.secrets(d, warn)
}

// user tells whom the app runs as, if that can be known.
func (i *inspector) user(a *App, warn func(finding)) (identity, bool) {
	key := "user"
	if a.User == "" && a.Group != "" {
		key = "group"
	}
	who, err := i.identify(a.User, a.Group)
	switch {
	case err != nil:
		warn(finding{key: key, message: err.Error()})
		return who, false
	case i.euid != 0 && int(who.uid) != i.euid:
		warn(finding{key: key, message: "only root can run an app as " + who.name, hint: "run tideover as root or as " + who.name})
	case who.uid == 0:
		warn(finding{key: key, message: "the app runs as root", hint: `give it a user of its own, such as user = "www-data"`})
	}
	return who, true
}

// directory looks for what the app is started in and with.
func (i *inspector) directory(a *App, warn func(finding)) bool {
	info, err := os.Stat(a.Directory)
	switch {
	case err != nil:
		warn(finding{key: "directory", message: fmt.Sprintf("the directory %s cannot be entered: %s", a.Directory, bare(err))})
		return false
	case !info.IsDir():
		warn(finding{key: "directory", message: a.Directory + " is not a directory"})
		return false
	}
	return true
}

// reading looks whether a user gets at the directory and the command.
func (i *inspector) reading(a *App, who identity, warn func(finding)) {
	if at, ok := who.canReach(a.Directory); !ok {
		warn(finding{key: "directory", message: fmt.Sprintf("%s cannot read the directory %s", who.name, a.Directory),
			hint: fmt.Sprintf("%s has mode %s", at, permissions(at))})
		return
	}
	if !strings.Contains(a.Command[0], "/") {
		return
	}
	program := absolute(a.Directory, a.Command[0])
	info, err := os.Stat(program)
	switch {
	case err != nil:
		warn(finding{key: "command", part: []string{"0"}, message: fmt.Sprintf("%s cannot be run: %s", program, bare(err))})
	case !info.Mode().IsRegular() || !who.may(info, execute) || info.Mode().Perm()&0o111 == 0:
		warn(finding{key: "command", part: []string{"0"}, message: fmt.Sprintf("%s cannot run %s", who.name, program), hint: fmt.Sprintf("it has mode %s", permissions(program))})
	}
}

// sockets looks for the directories of unix sockets.
func (i *inspector) sockets(a *App, warn func(finding)) {
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

// secrets looks for passwords in files that everybody can read.
func (i *inspector) secrets(d *draft, warn func(finding)) {
	tell := func(key string, part []string, path, what string) {
		warn(finding{key: key, part: part, secret: true, message: fmt.Sprintf("everybody on this machine can read %s in %s", what, path), hint: "chmod 640 " + path})
	}
	names := secretsOf(d.Env)
	if s, ok := d.spots["env"]; ok && len(names) > 0 && public(s.src.path, s.src.info) {
		tell("env", nil, s.src.path, strings.Join(names, ", "))
	}
	if s, ok := d.spots["command"]; ok && slices.ContainsFunc(d.Command, holdsPassword) && public(s.src.path, s.src.info) {
		tell("command", nil, s.src.path, "the command's password")
	}
	for n, path := range d.EnvFile {
		set, info, err := readEnvFile(path)
		names := secretsOf(set)
		path = strings.TrimPrefix(path, "-")
		if err == nil && len(names) > 0 && public(path, info) {
			tell("env_file", []string{fmt.Sprint(n)}, path, strings.Join(names, ", "))
		}
	}
}

// public reports whether everybody can read a file.
func public(path string, info fs.FileInfo) bool {
	_, reachable := everybody.canReach(filepath.Dir(path))
	return everybody.may(info, read) && reachable
}

// permissions is a file's mode in digits.
func permissions(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return cmp.Or(bare(err).Error(), "unknown")
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}
