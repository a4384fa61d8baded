package doctor

import (
	"context"
	"fmt"
	"strings"

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
var Checks = []string{"config", "daemon", "app", "apply", "address", "versions", "descriptors", "queue", "memory", "pids", "disk", "systemd", "front-end", "cgroup"}

// Examined is what is compared with the machine.
type Examined struct {
	File      *config.File // nil: there is none, or it cannot be read
	Problems  []config.Problem
	Missing   bool                   // there is no configuration, which Problems say
	Asked     map[string]*config.App // the apps of File whose gunicorn has reported its settings
	Status    *api.Status            // of the daemon that runs; nil: none
	Applied   *api.ApplyResult       // of a dry run in that daemon; nil: none
	Version   string                 // of this program
	Units     []string               // patterns of units of systemd
	FrontEnds []string               // patterns of configurations of front-ends
	URLs      []string               // of apps, as clients have them
	Root      string                 // where /proc and /sys are, for tests
}

// Examine returns the findings, in the order of Checks.
func Examine(ctx context.Context, e Examined) []Finding {
	x := &examination{Examined: e, configured: map[string]bool{}}
	x.config()
	x.daemon()
	x.apps()
	x.applied()
	if e.File != nil {
		x.addresses()
		x.versions()
	}
	x.descriptors()
	if e.File != nil {
		x.queues()
		x.memory()
		x.pids()
		x.disk()
		x.units()
		x.frontEnds()
	}
	x.urls(ctx)
	x.cgroup()
	return x.found
}

type examination struct {
	Examined
	found      []Finding
	configured map[string]bool // kinds of front-ends that have an address of an app in their configuration
}

func (x *examination) add(f Finding) { x.found = append(x.found, f) }

// config takes over what tideover check finds.
func (x *examination) config() {
	for _, p := range x.Problems {
		f := Finding{Check: "config", App: p.App, Message: p.Message, Remedy: p.Hint}
		if f.Remedy == "" {
			f.Remedy = "tideover check shows the line"
		}
		if x.Missing && x.Status != nil { // `tideover run -- COMMAND`
			f.Note, f.Message, f.Remedy = true, p.Message+": what runs was started by a command line", "tideover init writes one"
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
			add(fmt.Sprintf("tideover logs %s shows its output; repair it, and: tideover reload %s", a.Name, a.Name), "its last reload failed (exit %d): %s", a.LastReload.Exit, a.LastReload.Error)
		}
		if a.LastCrash != nil {
			add("tideover logs "+a.Name, "generation %d crashed: %s; %d crashes since the daemon started", a.LastCrash.Generation, a.LastCrash.Cause, a.Restarts)
		}
		for _, w := range a.Warnings {
			if !strings.HasPrefix(w, "the last reload failed") {
				add("tideover status "+a.Name+" shows it with the state of the app", "%s", w)
			}
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

// applied compares the configuration on the disk with what runs.
func (x *examination) applied() {
	if x.Applied == nil {
		return
	}
	for _, a := range x.Applied.Apps {
		f := Finding{Check: "apply", App: a.App, Remedy: "tideover apply --dry-run shows the difference; then: tideover apply"}
		switch a.Change {
		case api.Unchanged, api.Added: // apps has the latter
			continue
		case api.Removed:
			f.Message = "it runs, and is not in the configuration on the disk any more"
		default:
			var keys []string
			for _, s := range a.Settings {
				keys = append(keys, s.Key)
			}
			f.Message = "the configuration on the disk has other settings than what runs: " + strings.Join(keys, ", ")
		}
		x.add(f)
	}
}

// oldestGunicorn is the oldest version with which tideover is tested.
var oldestGunicorn = [2]int{20, 1}

// versions names the versions of the apps' servers.
func (x *examination) versions() {
	for _, a := range x.File.Apps {
		asked, ok := x.Asked[a.Name]
		if !ok || asked.Gunicorn.Version == "" {
			continue
		}
		g := asked.Gunicorn
		f := Finding{Check: "versions", App: a.Name, Note: true, Message: fmt.Sprintf("gunicorn %s, Python %s, %s workers", g.Version, g.Python, g.WorkerClass)}
		var major, minor int
		if n, _ := fmt.Sscanf(g.Version, "%d.%d", &major, &minor); n == 2 && (major < oldestGunicorn[0] || major == oldestGunicorn[0] && minor < oldestGunicorn[1]) {
			f.Note, f.Remedy = false, "pip install --upgrade gunicorn, in the environment of the app; then: tideover reload "+a.Name
			f.Message = fmt.Sprintf("gunicorn %s is older than %d.%d, the oldest version with which tideover is tested", g.Version, oldestGunicorn[0], oldestGunicorn[1])
		}
		x.add(f)
		if timeout := g.Timeout; timeout > 0 && a.Web() && a.Timeout > 0 && timeout > a.Timeout {
			x.add(Finding{Check: "versions", App: a.Name, Message: fmt.Sprintf("gunicorn lets a request take %v (--timeout), and clients get a 504 after %v (timeout)", timeout, a.Timeout),
				Remedy: fmt.Sprintf("timeout = \"%ds\" of the app, or a shorter --timeout of gunicorn", int(timeout.Seconds())+10)})
		}
	}
}
