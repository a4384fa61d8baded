package config

import "os"

// File is a configuration.
type File struct {
	Path     string // of the main file, absolute
	Daemon   Daemon
	Apps     []*App // in the order they are written
	Includes []Include
	Warnings []Problem

	drafts []*draft // the apps with the places of their keys, for Inspect
}

// App returns the app with a name.
func (f *File) App(name string) (*App, bool) {
	for _, a := range f.Apps {
		if a.Name == name {
			return a, true
		}
	}
	return nil, false
}

// Daemon is the settings of tideover itself. An empty path means the default.
type Daemon struct {
	Socket      string      // control socket
	SocketGroup string      // its members may reload, hold and read the status
	SocketMode  os.FileMode // 0: 0600, or 0660 with a group
	LogLevel    string      // trace, debug, info, warn, error
	LogFormat   string      // auto, text, json
	StateDir    string
	RuntimeDir  string
	Pidfile     string
	ExitWhen    string // "never", "failed" (an app has failed) or "done" (all apps are done)
}
