package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"tideover/supervisor/process"
)

// fell records that no generation came up: what still serves, what endangers
// it, what the child said last.
func (o *operation) fell(b *boot, why, hint string) {
	a, r := o.app, &o.result
	r.Error, r.Hint = why, hint
	if b != nil {
		r.Probe = b.heard.text
		r.ChildOutput = append(r.ChildOutput, b.generation.lastWords(a.log)...)
	}
	old := a.current
	if old == nil {
		r.Result, r.Exit = "down", ExitDown
		r.Error += fmt.Sprintf("; nothing serves: requests are held for up to %s each, then answered 503", a.settings.Hold.Timeout)
		return
	}
	r.Result, r.Exit = "kept old", ExitKeptOld
	r.Error += fmt.Sprintf("; generation %d still serves", old.number)
	if b != nil && old.dir == b.generation.dir {
		danger := fmt.Sprintf("generation %d serves as long as its workers live; the release was changed in place (%s), "+
			"so a worker that restarts would load the broken code: repair it and reload, and release into a directory of its own behind a symlink", old.number, old.dir)
		r.Hint = strings.TrimPrefix(r.Hint+"\n"+danger, "\n")
	}
}

// explain says in words why a generation did not come up, and what to do.
func (b *boot) explain() (why, hint string) {
	g := b.generation
	head := fmt.Sprintf("generation %d of %s did not come up: ", g.number, g.settings.Name)
	var other *elsewhereError
	switch {
	case errors.As(b.err, &other) && other.late:
		return head + fmt.Sprintf("no answer within %s; it listens on %s, which is not the socket it was given", g.settings.Ready.Timeout, other.address), forkRemedy(g)
	case errors.As(b.err, &other):
		return head + fmt.Sprintf("the command listens on %s itself and not on the socket it was given", other.address), forkRemedy(g)
	case errors.Is(b.err, errExited):
		out := g.process.Outcome()
		why = head + fmt.Sprintf("it ended with %s after %s, before it answered", out, out.Runtime.Round(10*time.Millisecond))
		if gu := g.settings.Gunicorn; gu != nil {
			switch out.Code {
			case 3:
				why += " (gunicorn: a worker failed to boot)"
			case 4:
				why += " (gunicorn: the app failed to load)"
			}
			if _, forks := gu.Forks(); forks {
				hint = forkRemedy(g)
			}
		}
		return why, hint
	case errors.Is(b.err, errReadyTimeout):
		why = head + fmt.Sprintf("no answer that counts within %s", g.settings.Ready.Timeout)
		if b.heard.status != 0 {
			why += fmt.Sprintf(" (the last one: %s)", firstLine(b.heard.text))
			hint = "ready.path and ready.status say what is asked and what counts"
		}
		return why, hint
	}
	return head + b.err.Error(), ""
}

// forkRemedy is for wrappers whose command gets a pid of its own: gunicorn
// ignores LISTEN_FDS then.
func forkRemedy(g *Generation) string {
	name := "the command before gunicorn"
	if gu := g.settings.Gunicorn; gu != nil {
		if w, ok := gu.Forks(); ok {
			name = w
		}
	}
	return name + " starts gunicorn as another process, so gunicorn ignores the socket passed to it; " +
		"start gunicorn itself (venv/bin/gunicorn ...), let the wrapper exec it, or give it the socket by hand: --bind fd://{fd} with --listen ADDRESS"
}

// startFailed turns a failed start of the process into an error for people.
func startFailed(name string, err error) *Error {
	var step *process.StartError
	if !errors.As(err, &step) {
		return errorf(ExitError, "cannot start %s: %v", name, err)
	}
	e := errorf(ExitError, "cannot start %s: %v", name, step)
	switch {
	case step.Step == "exec" && errors.Is(err, fs.ErrNotExist):
		e.Hint = "the command is looked up in the child's own PATH; give the path of the program, such as venv/bin/gunicorn"
	case step.Step == "exec" && errors.Is(err, fs.ErrPermission):
		e.Hint = "it must be executable, and every directory above it searchable, for the user the app runs as"
	}
	return e
}

func hintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// plainPath takes the operation off a path error, which the sentence around it
// names already.
func plainPath(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
