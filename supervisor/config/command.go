package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tideover/supervisor/gunicorn"
)

// CommandOptions is what stands on the command line of `tideover run [flags]
// -- COMMAND`. Zero values mean that the flag was not given.
type CommandOptions struct {
	Command   []string
	Directory string   // absolute; where the command is run
	Environ   []string // inherited

	Name         string
	Listen       []string
	Ready        string
	Reload       string
	ReadyTimeout time.Duration
	HoldTimeout  time.Duration
	HoldLimit    *int // nil: not given; 0 holds nothing
	StopTimeout  time.Duration
	EnvFile      []string
}

// FromCommand makes an app of a command line. It is always a web app: its
// public address is Listen, else the command's own bind, else PORT, else
// 127.0.0.1:8000. The error says everything that is wrong.
func FromCommand(o CommandOptions) (*App, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("no command: write it behind --, such as: tideover run -- gunicorn shop.wsgi")
	}
	a := newApp(o.Name)
	a.Command, a.Directory = o.Command, o.Directory
	faults := o.apply(a)
	for _, f := range a.complete(o.Directory, o.Environ) {
		faults = append(faults, errors.New(f.message))
	}
	if len(a.Listen) == 0 {
		faults = append(faults, a.listenAnyway(lookup(o.Environ)("PORT")))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return a, nil
}

// apply sets what flags were given, by the same rules as a file's keys.
func (o CommandOptions) apply(a *App) (faults []error) {
	set := func(flag, path string, given bool, value any) {
		if !given {
			return
		}
		k, _ := keyAt(appKeys, path)
		if err := k.set(a, value); err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	set("listen", "listen", len(o.Listen) > 0, anys(o.Listen))
	set("ready", "ready.path", o.Ready != "", o.Ready)
	set("reload", "reload", o.Reload != "", o.Reload)
	set("ready-timeout", "ready.timeout", o.ReadyTimeout != 0, o.ReadyTimeout.String())
	set("hold-timeout", "hold.timeout", o.HoldTimeout != 0, o.HoldTimeout.String())
	set("stop-timeout", "stop.timeout", o.StopTimeout != 0, o.StopTimeout.String())
	set("env-file", "env_file", len(o.EnvFile) > 0, anys(o.EnvFile))
	if o.HoldLimit != nil {
		set("hold-limit", "hold.limit", true, int64(*o.HoldLimit))
	}
	if a.Name == "" {
		a.Name = defaultName(o.Directory)
	} else if err := checkName(a.Name); err != nil {
		faults = append(faults, fmt.Errorf("--name: %w", err))
	}
	return faults
}

func anys(words []string) []any {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = w
	}
	return all
}

// listenAnyway gives a command that names no address the usual one.
func (a *App) listenAnyway(port string) error {
	a.Listen, a.ListenFrom = []string{"127.0.0.1:8000"}, gunicorn.FromDefault
	if port == "" {
		return nil
	}
	a.Listen, a.ListenFrom = []string{"0.0.0.0:" + port}, gunicorn.FromPort
	if err := checkListen(a.Listen[0]); err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	return nil
}

// defaultName is the directory's name as an app may have it. A release
// directory that is called current says nothing, its parent does.
func defaultName(directory string) string {
	base := filepath.Base(directory)
	if base == "current" {
		base = filepath.Base(filepath.Dir(directory))
	}
	return validName(base)
}

// validName makes a name for an app of any text.
func validName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && nameText.MatchString("a"+string(r)) {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	name = strings.Trim(name, "-_")
	if len(name) > 32 {
		name = strings.TrimRight(name[:32], "-_")
	}
	if name == "" {
		return "app"
	}
	return name
}
