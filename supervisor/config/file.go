package config

import "os"

// File is everything a configuration says.
type File struct {
	Path     string // of the main file, absolute
	Daemon   Daemon
	Apps     []*App // in the order they are written
	Warnings []Problem

	drafts []*draft // the apps with their places, for Inspect
}

// App finds an app by name.
func (f *File) App(name string) (*App, bool) {
	for _, a := range f.Apps {
		if a.Name == name {
			return a, true
		}
	}
	return nil, false
}

// Daemon is the settings of tideover itself. Empty paths mean the usual place.
type Daemon struct {
	Socket      string      // control socket
	SocketGroup string      // may reload, hold and look
	SocketMode  os.FileMode // 0: 0600, or 0660 with a group
	LogLevel    string      // trace, debug, info, warn, error
	LogFormat   string      // auto, text, json
	StateDir    string
	RuntimeDir  string
	Pidfile     string
	ExitWhen    string // "never", "failed" (an app is) or "done" (every app is)
}

// Problem is one fault or warning at its place.
type Problem struct {
	File         string // empty when there is none to point at
	Line, Column int    // from 1; Column counts characters
	Length       int    // characters to underline
	Text         string // the source line; empty where it would tell a secret
	App          string
	Message      string
	Hint         string // what to do about it
	Warning      bool
}

// Faults is the error of Load: all that is wrong, in the order of the files.
type Faults struct {
	Problems []Problem // faults and warnings
}
