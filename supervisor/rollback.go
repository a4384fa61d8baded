package supervisor

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/state"
)

// rollback has the symlink of the release lead to the release before, and puts that into service. When
// that fails, the symlink leads again where it led.
func (o *operation) rollback() {
	a := o.app
	if !o.mayReload() || !o.rereadSettings() {
		return
	}
	cfg, serving := a.settings, ""
	if a.current != nil {
		serving = a.current.Dir
	}
	var to *earlierRelease
	var fault *api.Error
	o.aside(func() { to, fault = findEarlierRelease(cfg, serving, a.state.Releases(a.name)) })
	if fault != nil {
		o.fail(fault.Exit, fault.Message, fault.Hint)
		return
	}
	o.word, o.link = to.word(), to.record()
	a.publish() // a later supervisor undoes it
	o.beginPhase("link")
	var err error
	o.aside(func() { err = to.relink(cfg, a.relink) })
	if err != nil {
		o.phaseFailed(to.attrs()...)
		o.fail(api.ExitError, fmt.Sprintf("cannot have %s lead to %s: %v", to.link.Path, to.text, err), "nothing was changed")
		return
	}
	o.phaseOK(to.attrs()...)
	to.log(a)
	o.renew()
	if o.result.Exit != api.ExitOK && to.moves() {
		o.linkBack(to)
	}
}

// linkBack undoes the first step of a rollback that has failed.
func (o *operation) linkBack(to *earlierRelease) {
	var err error
	o.aside(func() { err = o.app.relink(to.link.Path, to.text, to.link.To) })
	o.linkedBack(to, err)
}

// linkedBack says that the first step was undone, or why not.
func (o *operation) linkedBack(to *earlierRelease, err error) {
	if err != nil {
		o.app.logger.Error("cannot set symlink back", "app", o.app.name, "link", to.link.Path, "to", to.link.To, "error", err)
		o.result.Error += fmt.Sprintf("; %s still leads to %s: %v", to.link.Path, to.text, err)
		return
	}
	to.undone().log(o.app)
	o.result.Error += fmt.Sprintf("; %s leads to %s again", to.link.Path, to.link.To)
}

// aside runs do on a goroutine of its own, because a file system may hang, and handles the app's
// events meanwhile.
func (o *operation) aside(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	o.app.waitEvent(done, nil)
}

// relinker is safepath.Relink.
type relinker func(path, from, to string) error

// earlierRelease is where a rollback leads.
type earlierRelease struct {
	state.Release
	link state.Link // that is to be changed, as it is now
	text string     // of it then
}

// moves reports whether the symlink has to be changed. It leads there already if another app of the
// same release was rolled back.
func (r *earlierRelease) moves() bool { return r.link.To != r.text }

// word is the revision that is not learnt from the directory; empty: it is.
func (r *earlierRelease) word() string {
	if r.Given {
		return r.Revision
	}
	return ""
}

func (r *earlierRelease) attrs() []api.Attr { return []api.Attr{api.String("to", r.text)} }

func (r *earlierRelease) log(a *App) {
	if r.moves() {
		a.logger.Info("symlink changed", "app", a.name, "link", r.link.Path, "from", r.link.To, "to", r.text)
	}
}

// record is what a later supervisor has to know; nil: the symlink is not changed.
func (r *earlierRelease) record() *handoff.Link {
	if !r.moves() {
		return nil
	}
	return &handoff.Link{Path: r.link.Path, Before: r.link.To, After: r.text}
}

func (r *earlierRelease) undone() *earlierRelease {
	return &earlierRelease{link: state.Link{Path: r.link.Path, To: r.text}, text: r.link.To}
}

// plan says what the rollback would do.
func (r *earlierRelease) plan(say func(format string, args ...any)) {
	if r.moves() {
		say("link       %s: %s -> %s", r.link.Path, r.link.To, r.text)
	} else {
		say("link       %s leads to %s already", r.link.Path, r.text)
	}
	if r.Revision != "" {
		say("revision   %s", r.Revision)
	}
	say("reload     in %s, where the app was ready at %s", r.Dir, r.Ready.Local().Format("2006-01-02 15:04:05"))
}

// relink changes the symlink, and verifies that the directory of the app is that of the release then.
func (r *earlierRelease) relink(cfg *config.App, relink relinker) error {
	if !r.moves() {
		return nil
	}
	if err := relink(r.link.Path, r.link.To, r.text); err != nil {
		return err
	}
	dir, _, err := generation.ResolveDirectory(cfg.Directory)
	if err == nil && dir == r.Dir {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("it leads to %s now, and not to %s", dir, r.Dir)
	}
	return errors.Join(err, relink(r.link.Path, r.text, r.link.To))
}

// findEarlierRelease looks at the symlinks and directories of the app as they are now. serving is the
// directory of the generation that serves; empty: none does.
func findEarlierRelease(cfg *config.App, serving string, known []state.Release) (*earlierRelease, *api.Error) {
	dir, links, err := generation.ResolveDirectory(cfg.Directory)
	if err != nil {
		return nil, api.Errorf(api.ExitError, "cannot use directory %s: %v", cfg.Directory, generation.PathCause(err))
	}
	r, fault := chooseRelease(cfg, dir, links, serving, known)
	if fault != nil {
		return nil, fault
	}
	if info, err := os.Stat(r.Dir); err != nil || !info.IsDir() {
		return nil, &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("the release before is gone: %s was ready at %s, and is no directory now", r.Dir, r.Ready.Local().Format("2006-01-02 15:04")),
			Hint: "nothing was changed; keep more releases, or deploy one again and reload"}
	}
	return r, nil
}

// chooseRelease returns the last release that was ready beside the one to which the symlinks lead
// now. If that is an earlier one already, it is itself the choice: another app of the same release was
// rolled back, or somebody has set the symlink back. One that has not come up since it was ready does
// not count as such.
func chooseRelease(cfg *config.App, dir string, links []state.Link, serving string, known []state.Release) (*earlierRelease, *api.Error) {
	if len(links) == 0 {
		return nil, &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("%s is not deployed by a symlink: its directory is %s, and no symlink leads there", cfg.Name, dir),
			Hint: "release into directories of their own, and let a symlink, which is the app's directory, lead to the last one"}
	}
	last := links[len(links)-1]
	for _, r := range known {
		if r.Dir == dir && !r.Failed && serving != "" && serving != dir {
			return &earlierRelease{Release: r, link: last, text: last.To}, nil
		}
	}
	for _, r := range slices.Backward(known) {
		if r.Dir == dir {
			continue
		}
		for i, l := range links[:min(len(links), len(r.Links))] {
			if r.Links[i].Path == l.Path && r.Links[i].To != l.To {
				return &earlierRelease{Release: r, link: l, text: r.Links[i].To}, nil
			}
			if r.Links[i].Path != l.Path {
				break
			}
		}
		return nil, &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("%s does not lead to the release before, %s, by one symlink: the key directory was changed, or a symlink on the way", cfg.Directory, r.Dir),
			Hint: "nothing was changed"}
	}
	return nil, &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("there is no release before: no generation of %s was ready in another directory than %s", cfg.Name, dir),
		Hint: "nothing was changed"}
}

// rememberRelease records the directory of a generation that is ready.
func (a *App) rememberRelease(g *generation.Generation) {
	r := state.Release{Dir: g.Dir, Links: g.Links, Revision: g.Revision, Given: g.Given, Ready: g.Ready}
	if err := a.state.SetReady(a.name, r); err != nil {
		a.logger.Warn("cannot save state", "record", "release", "app", a.name, "generation", g.Number, "error", err)
	}
}

// rememberFailure records that the app has not come up from a directory.
func (a *App) rememberFailure(dir string) {
	if err := a.state.SetFailed(a.name, dir); err != nil {
		a.logger.Warn("cannot save state", "record", "release", "app", a.name, "error", err)
	}
}

// givenRevision is the word that a command has given for what is deployed in a directory; empty: none.
func (a *App) givenRevision(dir string) string {
	for _, r := range a.state.Releases(a.name) {
		if r.Dir == dir && r.Given {
			return r.Revision
		}
	}
	return ""
}
