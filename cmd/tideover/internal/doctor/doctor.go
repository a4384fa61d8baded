package doctor

import (
	"fmt"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// Finding is one thing that will hurt, with its remedy.
type Finding struct {
	Check   string `json:"check"`
	App     string `json:"app,omitempty"`
	Place   string `json:"place,omitempty"` // a file, with the line behind a colon
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	Note    bool   `json:"note,omitempty"` // it is good to know, and nothing has to be done
}

// Checks are the names of all checks, in the order of the findings.
var Checks = []string{"config", "daemon", "app", "address", "descriptors", "queue", "memory", "disk", "systemd", "front-end", "cgroup"}

// Examined is what is compared with the machine.
type Examined struct {
	File      *config.File // nil: there is none, or it cannot be read
	Problems  []config.Problem
	Status    *api.Status // of the daemon that runs; nil: none
	Version   string      // of this program
	Units     []string    // patterns of units of systemd
	FrontEnds []string    // patterns of configurations of front-ends
	Root      string      // where /proc and /sys are, for tests
}

// Examine returns the findings, in the order of Checks.
func Examine(e Examined) []Finding {
	x := &examination{Examined: e}
	x.config()
	x.daemon()
	x.apps()
	if e.File != nil {
		x.addresses()
	}
	x.descriptors()
	if e.File != nil {
		x.queues()
		x.memory()
		x.disk()
		x.units()
		x.frontEnds()
	}
	x.cgroup()
	return x.found
}

type examination struct {
	Examined
	found []Finding
}

func (x *examination) add(f Finding) { x.found = append(x.found, f) }

// config takes over what tideover check finds.
func (x *examination) config() {
	for _, p := range x.Problems {
		f := Finding{Check: "config", App: p.App, Message: p.Message, Remedy: p.Hint}
		if f.Remedy == "" {
			f.Remedy = "tideover check shows the line"
		}
		if f.Place = p.File; p.Line > 0 {
			f.Place += fmt.Sprintf(":%d", p.Line)
		}
		x.add(f)
	}
}

// daemon checks that one runs, and that it is this version.
func (x *examination) daemon() {
	switch {
	case x.Status == nil:
		remedy := "tideover run -c FILE, or: systemctl enable --now tideover"
		if x.File != nil {
			remedy = "tideover run -c " + x.File.Path + ", or: systemctl enable --now tideover"
		}
		x.add(Finding{Check: "daemon", Message: "no daemon runs for this configuration", Remedy: remedy})
	case x.Status.Version != x.Version:
		x.add(Finding{Check: "daemon", Message: fmt.Sprintf("the daemon is version %s, and this program is %s", x.Status.Version, x.Version),
			Remedy: fmt.Sprintf("kill -USR2 %d replaces the daemon, and loses no request", x.Status.Pid)})
	}
}

// apps checks what the daemon says of each app.
func (x *examination) apps() {
	if x.Status == nil {
		return
	}
	running := map[string]bool{}
	for _, a := range x.Status.Apps {
		running[a.Name] = true
		add := func(remedy, format string, args ...any) {
			x.add(Finding{Check: "app", App: a.Name, Message: fmt.Sprintf(format, args...), Remedy: remedy})
		}
		switch a.State {
		case api.Failed, api.Backoff:
			add(fmt.Sprintf("tideover logs %s shows its output; then: tideover reload %s", a.Name, a.Name), "it is in state %s: %s", a.State, a.Reason)
		case api.Holding:
			add("tideover release "+a.Name, "its requests are held: %v", a.Holds)
		}
		if a.LastReload != nil && a.LastReload.Exit != api.ExitOK {
			add(fmt.Sprintf("tideover status %s shows the reason; repair it, and: tideover reload %s", a.Name, a.Name), "its last reload failed (exit %d)", a.LastReload.Exit)
		}
		if a.LastCrash != nil {
			add("tideover logs "+a.Name, "generation %d crashed: %s; %d crashes since the daemon started", a.LastCrash.Generation, a.LastCrash.Cause, a.Restarts)
		}
		for _, w := range a.Warnings {
			add("tideover status "+a.Name, "%s", w)
		}
	}
	if x.File == nil {
		return
	}
	for _, a := range x.File.Apps {
		if !running[a.Name] && !running[a.Name+":1"] {
			x.add(Finding{Check: "app", App: a.Name, Message: "the daemon does not know it", Remedy: "tideover apply"})
		}
	}
}
