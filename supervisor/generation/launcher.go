package generation

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
	"tideover/supervisor/state"
)

// Options of a Launcher.
type Options struct {
	Logger     hclog.Logger
	RuntimeDir string               // private sockets and scratch directories
	State      *state.Store         // process trees are recorded in it
	Gunicorns  *gunicorn.Cache      // the settings that gunicorn reported, by app
	Relay      remote.Relay         // has the targets of web apps
	RelayDir   *listener.PrivateDir // of the relay's process, in RuntimeDir; nil: the relay is in this process
	App        remote.AppID         // the relay's number of the app; see ForApp
	System     System               // has the processes; nil: this machine
	Log        *logs.Log            // the output of the app; see ForApp
	// Store and Journal keep descriptors and generations for a later supervisor; nil: none comes.
	Store   handoff.Store
	Journal Journal
	// Hurry ends when every drain and every grace period is to end at once.
	Hurry context.Context
	// EndDrains ends when every drain is to end, and the stop signal is to be sent; nil: with
	// Hurry only.
	EndDrains context.Context
	// Resolve returns the address at which a public address of the configuration
	// ("systemd:NAME", too) really listens.
	Resolve func(listen string) string
}

// Launcher starts and stops the generations of every app and runs their hooks.
// Its methods may be called from any goroutine.
type Launcher struct {
	options Options
	logger  hclog.Logger
}

// NewLauncher returns a Launcher.
func NewLauncher(o Options) *Launcher {
	if o.EndDrains == nil {
		o.EndDrains = o.Hurry
	}
	if o.System == nil {
		o.System = machine{}
	}
	if o.Journal == nil {
		o.Journal = noJournal{}
	}
	return &Launcher{options: o, logger: o.Logger}
}

// ForApp returns a Launcher of one app, with an EndDrains, a Hurry, a Log and a Journal of its own.
func (l *Launcher) ForApp(app remote.AppID, endDrains, hurry context.Context, log *logs.Log, j Journal) *Launcher {
	o := l.options
	o.App, o.EndDrains, o.Hurry, o.Log, o.Journal = app, endDrains, hurry, log, j
	return NewLauncher(o)
}
