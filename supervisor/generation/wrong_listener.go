package generation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/process"
	"tideover/supervisor/servers"
)

// firstListenCheck is the time until the first check whether the command listens
// on another socket. The interval doubles from there, because a check reads the
// kernel's socket tables, which have one line per connection of the machine.
const firstListenCheck = 500 * time.Millisecond

// watchStartup ends the wait when the process has exited, or listens on another
// socket.
func (g *Generation) watchStartup(ctx context.Context, stop context.CancelCauseFunc) {
	interval := firstListenCheck
	check := time.NewTimer(interval)
	defer check.Stop()
	wrong := g.wrongListener()
	if wrong == nil {
		check.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.Process.Exited():
			stop(errExited)
			return
		case <-check.C:
			if other, found := wrong(); found {
				stop(&wrongListenerError{Listening: other})
				return
			}
			interval *= 2
			check.Reset(interval)
		}
	}
}

// wrongListener returns the check for a socket that shows that the command does not serve on its
// private socket. It is nil where no socket shows that: the command takes the private one, or is
// told where to listen.
func (g *Generation) wrongListener() func() (process.Listening, bool) {
	cfg := g.App
	switch {
	case g.private == nil:
	case cfg.Gunicorn != nil && slices.ContainsFunc(cfg.Gunicorn.Bind.Addresses, func(bind string) bool { return !slices.Contains(cfg.Listen, bind) }):
		// The public address is bound by the daemon, so gunicorn cannot bind that one.
		return func() (process.Listening, bool) { return g.otherListener(boundAt(cfg.Gunicorn.Bind.Addresses)) }
	case !cfg.TakesSocket():
		var before process.Listening
		return func() (process.Listening, bool) {
			other, found := g.otherListener(anyTCP)
			twice := found && other == before // a socket of a check for a free port is closed by now
			before = other
			return other, twice && g.private.Pending()
		}
	}
	return nil
}

// otherListener returns the first socket but those that were passed to the command, and but the one
// that it was told to open, on which the command listens and that matches. A wrapper that forks (uv run,
// a shell) makes gunicorn ignore LISTEN_FDS without a message, because LISTEN_PID is the
// wrapper's pid.
func (g *Generation) otherListener(matches func(process.Listening) bool) (process.Listening, bool) {
	open, err := g.Process.Listening()
	if err != nil {
		return process.Listening{}, false
	}
	for _, l := range open {
		told := g.child != nil && l.Address == g.child.address
		if !told && !slices.Contains(g.public, l.Inode) && (g.private == nil || l.Inode != g.private.Inode()) && matches(l) {
			return l, true
		}
	}
	return process.Listening{}, false
}

func anyTCP(l process.Listening) bool { return l.Network == "tcp" }

// boundAt matches the sockets that binds of gunicorn ask for.
func boundAt(binds []string) func(process.Listening) bool {
	return func(l process.Listening) bool {
		return slices.ContainsFunc(binds, func(bind string) bool { return SameListener(bind, l.Network, l.Address) })
	}
}

// wrongListenerError says that the command has opened its own address instead of
// the socket that was passed to it.
type wrongListenerError struct {
	process.Listening
	late bool // seen only at ready.timeout
}

func (e *wrongListenerError) Error() string { return "it listens on " + e.Address + " by itself" }

// remedy says what to do, in the words of the program that listens. It may be another one than
// the command names: a script has started it.
func (e *wrongListenerError) remedy(cfg *config.App) string {
	if cfg.Gunicorn != nil {
		return forkRemedy(cfg)
	}
	if cfg.TakesSocket() {
		return "it must listen where it is told to: " + strings.Join(cfg.Argv(), " ")
	}
	argv := commandLine(e.PID)
	none := func(string) string { return "" }
	if gu, _ := gunicorn.Parse(argv, none, nil); gu != nil || strings.HasPrefix(strings.Join(argv, " "), "gunicorn: ") {
		return "gunicorn was started as another process than the command, and takes its socket only as the command itself: " +
			"let the script exec it (exec gunicorn ...), or start gunicorn without the script"
	}
	if s := servers.Parse(argv, none); s != nil {
		started := gunicorn.Unwrap(argv, none)
		words := append([]string{started.Program}, started.Args...)
		if started.Module {
			words = argv
		}
		return s.Server + " is not in the command itself, so tideover could not tell it where to listen; write " + strings.Join(words, " ")
	}
	return UnknownRemedy(cfg, e.Address)
}

// UnknownRemedy is the remedy for a command that is not known and listens on address.
func UnknownRemedy(cfg *config.App, address string) string {
	if cfg.Direct() {
		return fmt.Sprintf(`with relay = "none" tideover has opened the public socket: %s must serve on the one that it inherits as descriptor 3 (LISTEN_FDS), `+
			"or be told its number by {fd} in the command", ProgramOf(cfg))
	}
	command := strings.Join(cfg.Command, " ")
	_, port, _ := net.SplitHostPort(address)
	told := strings.ReplaceAll(command, port, "{port}")
	if told == command {
		told = command + " --port {port}"
	}
	return fmt.Sprintf("tideover does not know %s and cannot tell it where to listen: write {port} for the port in the command (or {socket} for the path of a unix socket, "+
		"{fd} for the number of the inherited socket) and give the public address with listen (--listen), such as --listen %s -- %s", ProgramOf(cfg), address, told)
}

// ProgramOf is the name of the program that a command runs, without wrappers and interpreter.
func ProgramOf(cfg *config.App) string {
	u := gunicorn.Unwrap(cfg.Command, func(string) string { return "" })
	return cmp.Or(u.Program, cfg.Command[0])
}

// commandLine returns the words of a process's command line; nil: unknown.
func commandLine(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimRight(text, "\x00")), "\x00")
}
