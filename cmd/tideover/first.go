package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// lookPeriod is how often the first screen looks whether an app has come up.
// It stops looking when all have.
const lookPeriod = 50 * time.Millisecond

// firstScreen tells the person who typed `run` what happened, and what to type
// next. It is for terminals; elsewhere the log says it.
type firstScreen struct {
	daemon *daemon
	out    *sharedWriter
	screen screen
	seen   map[string]api.State // last told, by app
}

func newFirstScreen(d *daemon, out *sharedWriter) *firstScreen {
	return &firstScreen{daemon: d, out: out, screen: out.screen, seen: map[string]api.State{}}
}

// watched is what the first screen needs of the supervisor.
type watched interface {
	Status(names ...string) (api.Status, error)
}

// show looks until every app has come up, or is not going to, or over ends.
func (f *firstScreen) show(over context.Context, sup watched) {
	f.greet()
	began := time.Now()
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		status, err := sup.Status()
		if err != nil || f.tell(status.Apps, time.Since(began)) {
			return
		}
		select {
		case <-over.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *firstScreen) greet() {
	from := f.daemon.file.Path
	if f.daemon.name != "" {
		from = "app " + f.daemon.name
	}
	f.say("%s  %s\n\n", f.screen.paint(bold, "tideover "+version), from)
	for _, app := range f.daemon.file.Apps {
		for _, address := range app.Listen {
			f.done(app.Name, "listening", browsable(address)+origin(app.ListenFrom))
		}
	}
}

// browsable is an address one can click on.
func browsable(address string) string {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
		return address
	}
	if strings.HasPrefix(address, ":") {
		address = "localhost" + address
	}
	return "http://" + address
}

func origin(from string) string {
	switch from {
	case "command line":
		return "   the command's own address, taken over"
	case "GUNICORN_CMD_ARGS", "PORT":
		return "   from $" + from
	case "default":
		return "   gunicorn's default, taken over"
	}
	return ""
}

// tell says what is new, and reports whether there is nothing more to wait
// for.
func (f *firstScreen) tell(apps []api.AppStatus, after time.Duration) (over bool) {
	waiting := 0
	for _, a := range apps {
		told := f.seen[a.Name]
		if a.State == api.Starting {
			waiting++
		}
		if told == a.State || a.State == api.Starting && a.Pid == 0 {
			continue
		}
		f.seen[a.Name] = a.State
		f.tellOne(a, after)
	}
	if waiting > 0 {
		return false
	}
	f.advise()
	return true
}

func (f *firstScreen) tellOne(a api.AppStatus, after time.Duration) {
	switch a.State {
	case api.Starting:
		f.done(a.Name, "started", fmt.Sprintf("pid %d", a.Pid))
	case api.Running, api.Holding, api.Reloading:
		f.done(a.Name, "answering", fmt.Sprintf("generation %d, pid %d, after %s", a.Generation, a.Pid, human(after)))
	case api.Stopped:
		f.done(a.Name, "stopped", "tideover start "+a.Name+" starts it")
	default:
		f.say("  %s %s %s\n", f.screen.paint(red, "✗"), pad(f.label(a.Name, string(a.State)), 11), shown(a.Reason))
		if a.Next > 0 {
			f.say("    requests are held meanwhile; the next try is in %s\n", human(span(a.Next)))
		}
	}
}

func (f *firstScreen) advise() {
	of := ""
	if len(f.daemon.file.Apps) > 1 {
		of = " --all"
	}
	f.say("\n  reload   tideover reload%s   or   kill -HUP %d\n  look     tideover status   ·    tideover logs -f\n"+
		"  stop     Ctrl-C (finishes what is running; twice = now)\n\n", of, os.Getpid())
}

func (f *firstScreen) done(app, what, how string) {
	f.say("  %s %s %s\n", f.screen.paint(green, "✓"), pad(f.label(app, what), 11), how)
}

// label names the app where there are several.
func (f *firstScreen) label(app, what string) string {
	if len(f.daemon.file.Apps) > 1 {
		return pad(app, 12) + " " + what
	}
	return what
}

// say takes its turn among the apps' own lines.
func (f *firstScreen) say(format string, args ...any) {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	fmt.Fprintf(f.out.out, format, args...)
}
