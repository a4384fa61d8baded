package daemon

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// startupView prints on the terminal of `run` what happened and what to type
// next. Without a terminal these are lines of the log.
type startupView struct {
	version string
	config  *config.File
	pid     int       // of tideover
	app     string    // of `run -- COMMAND`; empty: a configuration
	output  io.Writer // never blocks
	screen  term.Screen
	shown   map[string]api.State // the state shown last, by app
}

func newStartupView(d *daemon, output io.Writer) *startupView {
	return &startupView{version: d.Version, config: d.Config, pid: d.pid(), app: d.App,
		output: output, screen: d.Stdout, shown: map[string]api.State{}}
}

// statusReader is what the startup view reads of the supervisor.
type statusReader interface {
	Status(selectors ...string) (api.Status, error)
}

// show polls until every app has started or is not going to, or ended is done.
func (v *startupView) show(ended context.Context, sup statusReader) {
	status, _ := sup.Status()
	v.printHead(status.Apps)
	began := time.Now()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		status, err := sup.Status()
		if err != nil || v.update(status.Apps, time.Since(began)) {
			return
		}
		select {
		case <-ended.Done():
			return
		case <-ticker.C:
		}
	}
}

// printHead prints the public addresses. Those of status count: gunicorn's configuration file or
// systemd may have named others than the command.
func (v *startupView) printHead(status []api.AppStatus) {
	from := v.config.Path
	if v.app != "" {
		from = "app " + v.app
	}
	fmt.Fprintf(v.output, "%s  %s\n\n", v.screen.Paint(term.Bold, "tideover "+v.version), from)
	for _, app := range v.config.Apps {
		addresses, source := app.Listen, listenSource(app)
		for _, s := range status {
			if s.Name == app.Name && len(s.Listen) > 0 && !slices.Equal(s.Listen, addresses) {
				addresses, source = s.Listen, ""
				if app.QueryGunicorn && !strings.HasPrefix(s.Listen[0], "systemd:") {
					source = "   from gunicorn's settings, taken over"
				}
			}
		}
		for _, address := range addresses {
			if app.Relay != config.RelayNone { // else it may not be HTTP
				address = browsable(address)
			}
			v.printDone(app.Name, "listening", address+source)
		}
	}
}

// browsable is the address as a terminal turns it into a link.
func browsable(address string) string {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
		return address
	}
	for _, all := range []string{":", "0.0.0.0:", "[::]:"} {
		if port, ok := strings.CutPrefix(address, all); ok {
			return "http://localhost:" + port + "   on all interfaces"
		}
	}
	return "http://" + address
}

// listenSource says where an address was found, if not in the configuration.
func listenSource(app *config.App) string {
	switch from := app.ListenFrom; {
	case from == "listen" || from == "gunicorn" || from == "":
		return ""
	case from == "command line":
		return "   the command's own address, taken over"
	case from != "default":
		return "   from $" + from
	case app.Gunicorn != nil:
		return "   gunicorn's default, taken over"
	case app.Server != nil:
		return "   the default of " + app.Server.Server + ", taken over"
	}
	return "   the default"
}

// update prints what is new, and reports whether no app is starting any more.
func (v *startupView) update(apps []api.AppStatus, after time.Duration) (over bool) {
	starting := 0
	for _, a := range apps {
		before := v.shown[a.Name]
		if a.State == api.Starting {
			starting++
		}
		if before == a.State || a.State == api.Starting && a.Pid == 0 {
			continue
		}
		v.shown[a.Name] = a.State
		v.printState(a, after)
	}
	if starting > 0 {
		return false
	}
	v.printHints()
	return true
}

func (v *startupView) printState(a api.AppStatus, after time.Duration) {
	switch a.State {
	case api.Starting:
		v.printDone(a.Name, "started", fmt.Sprintf("pid %d", a.Pid))
	case api.Running, api.Holding, api.Reloading:
		what := "answering"
		if len(a.Listen) == 0 || a.Relay != "" {
			what = "running"
		}
		v.printDone(a.Name, what, fmt.Sprintf("generation %d, pid %d, after %s", a.Generation, a.Pid, api.FormatDuration(after)))
	case api.Stopped:
		v.printDone(a.Name, "stopped", "tideover start "+a.Name+" starts it")
	default:
		label := term.Pad(v.label(a.Name, string(a.State)), 11)
		fmt.Fprintf(v.output, "  %s %s %s\n", v.screen.Paint(term.Red, "✗"), label, term.Sanitize(a.Reason))
		if a.Next > 0 {
			next := time.Duration(a.Next * float64(time.Second))
			fmt.Fprintf(v.output, "    %sthe next try is in %s\n", meanwhile(a), api.FormatDuration(next))
		}
	}
}

// meanwhile says what happens to requests until the next try.
func meanwhile(a api.AppStatus) string {
	switch {
	case len(a.Listen) == 0:
		return ""
	case a.Relay != "":
		return "connections wait meanwhile; "
	case a.State == api.Failed:
		return "requests get 503 meanwhile; "
	}
	return "requests are held meanwhile; "
}

func (v *startupView) printHints() {
	which := ""
	if len(v.config.Apps) > 1 {
		which = " --all"
	}
	fmt.Fprintf(v.output, "\n  reload   tideover reload%s   or   kill -HUP %d\n  look     tideover status   ·    tideover logs -f\n"+
		"  stop     Ctrl-C (finishes what is running; twice = now)\n\n", which, v.pid)
}

// printStopping says what the shutdown waits for.
func (v *startupView) printStopping(sup statusReader) {
	requests := 0
	if status, err := sup.Status(); err == nil {
		for _, a := range status.Apps {
			requests += a.InFlight
		}
	}
	if requests > 0 {
		fmt.Fprintf(v.output, "\nstopping: %s in flight; Ctrl-C again: now\n", term.Plural(requests, "request"))
	}
}

// printStopped is the last line, unless an error follows.
func (v *startupView) printStopped(counts supervisor.ShutdownCounts, err error) {
	if err != nil {
		return
	}
	refused := ""
	if counts.Refused > 0 {
		refused = fmt.Sprintf(", %d new ones refused (503)", counts.Refused)
	}
	fmt.Fprintf(v.output, "stopped, %d lost%s\n", counts.Lost, refused)
}

func (v *startupView) printDone(app, what, details string) {
	fmt.Fprintf(v.output, "  %s %s %s\n", v.screen.Paint(term.Green, "✓"), term.Pad(v.label(app, what), 11), details)
}

// label names the app where there are several.
func (v *startupView) label(app, what string) string {
	if len(v.config.Apps) > 1 {
		return term.Pad(app, 12) + " " + what
	}
	return what
}
