package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// fell records that no generation came up: what still serves, what endangers
// it, what the child said last.
func (o *operation) fell(b *boot, why, hint string) {
	a, r := o.app, &o.result
	r.Error, r.Hint = why, hint
	r.Probe = b.heard.text
	var hook *hookError
	if errors.As(b.err, &hook) {
		r.ChildOutput = append(r.ChildOutput, hook.lines...)
	} else if b.generation != nil {
		r.ChildOutput = append(r.ChildOutput, b.generation.lastWords(a.log)...)
	}
	old := a.current
	if old == nil {
		r.Result, r.Exit = "down", api.ExitDown
		r.Error += "; " + whatNow(a.settings)
		return
	}
	r.Result, r.Exit = "kept old", api.ExitKeptOld
	r.Error += fmt.Sprintf("; generation %d still serves", old.number)
	if old.dir == b.post.dir {
		danger := fmt.Sprintf("generation %d serves as long as its workers live; the release was changed in place (%s), "+
			"so a worker that restarts would load the broken code: repair it and reload, and release into a directory of its own behind a symlink", old.number, old.dir)
		r.Hint = strings.TrimPrefix(r.Hint+"\n"+danger, "\n")
	}
}

// whatNow says what it means that nothing serves.
func whatNow(cfg *config.App) string {
	switch {
	case !cfg.Web():
		return "nothing runs"
	case cfg.Restart == config.RestartNever:
		return "nothing serves: requests are answered 503"
	}
	return fmt.Sprintf("nothing serves: requests are held for up to %s each, then answered 503", api.FormatDuration(cfg.Hold.Timeout))
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
func startFailed(name string, err error) *api.Error {
	var step *process.StartError
	if !errors.As(err, &step) {
		return api.Errorf(api.ExitError, "cannot start %s: %v", name, err)
	}
	e := api.Errorf(api.ExitError, "cannot start %s: %v", name, step)
	e.Cause = step
	switch {
	case step.Step == "user" && errors.Is(err, fs.ErrPermission):
		e.Hint = "only root can start an app as another user"
	case step.Step == "directory":
		e.Hint = "directory names where the command runs; the user it runs as must be able to go there"
	case step.Step == "exec" && errors.Is(err, fs.ErrNotExist):
		e.Hint = "the command is looked up in the child's own PATH; give the path of the program, such as venv/bin/gunicorn"
	case step.Step == "exec" && errors.Is(err, fs.ErrPermission):
		e.Hint = "it must be executable, and every directory above it searchable, for the user the app runs as"
	}
	return e
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
