package generation

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
	"tideover/supervisor/state"
)

// LaunchSpec is the directory and the user of a generation's processes. It is
// resolved once, so that hooks and the server use the same release even if the
// symlink changes meanwhile.
type LaunchSpec struct {
	App    *config.App
	Number int           // of the generation
	Dir    string        // symlinks resolved
	Links  []state.Link  // that led to Dir; of a generation that was taken over: nil
	User   *process.User // nil: as the daemon
	// Revision is the word for what is deployed; empty: none is known. Before the process exists only the
	// startup's goroutine knows it.
	Revision string
	Given    bool   // a command has named the revision
	tokens   string // prefix of the tokens of its trees
}

// launchSpec resolves the directory and the user of an app.
func (l *Launcher) launchSpec(cfg *config.App, number int) (LaunchSpec, error) {
	return newLaunchSpec(cfg, number, l.options.State.TreePrefix())
}

func newLaunchSpec(cfg *config.App, number int, tokens string) (LaunchSpec, error) {
	p := LaunchSpec{App: cfg, Number: number, tokens: tokens}
	var err error
	if cfg.User != "" || cfg.Group != "" {
		if p.User, err = process.ResolveUser(cfg.User, cfg.Group); err != nil {
			return p, startFailed(cfg.Name, &process.StartError{Step: "user", Err: err})
		}
	}
	if p.Dir, p.Links, err = ResolveDirectory(cfg.Directory); err != nil {
		return p, startFailed(cfg.Name, &process.StartError{Step: "directory", Path: cfg.Directory, Err: PathCause(err)})
	}
	return p, nil
}

// identityVars are the environment variables that name the user.
var identityVars = []string{"HOME", "USER", "LOGNAME", "SHELL"}

// revisionVariable is the variable with the word for what is deployed.
const revisionVariable = "TIDEOVER_REVISION="

// environment returns the environment of the processes; the env files are read
// anew. With another user than the daemon's, identityVars are that user's, unless
// the app's settings set them.
func (p LaunchSpec) environment() ([]string, error) {
	base := os.Environ()
	if p.User != nil {
		base = slices.DeleteFunc(base, func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return slices.Contains(identityVars, name)
		})
		base = append(base, p.User.Env()...)
	}
	base = slices.DeleteFunc(base, func(pair string) bool { return strings.HasPrefix(pair, revisionVariable) }) // of another app
	env, err := p.App.Environment(p.Dir, base)
	if err != nil {
		return nil, &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	env = append(env, "TIDEOVER_APP="+p.App.Name, "TIDEOVER_GENERATION="+strconv.Itoa(p.Number))
	if p.Revision != "" {
		env = append(env, revisionVariable+p.Revision)
	}
	if p.App.Instance > 0 {
		env = append(env, "TIDEOVER_INSTANCE="+strconv.Itoa(p.App.Instance))
	}
	return env, nil
}

// processSpec is common to every process of a generation: the server, the hooks
// and ready.command.
func (p LaunchSpec) processSpec(argv []string, name string) (process.Spec, error) {
	env, err := p.environment()
	cfg := p.App
	return process.Spec{
		Argv: argv, Dir: p.Dir, Env: env, User: p.User,
		Umask: cfg.Umask, Nofile: cfg.Limits.Nofile, Limits: rlimits(cfg.Limits),
		Nice: cfg.Nice, OOMScoreAdj: cfg.OOMScoreAdj, NoNewPrivs: cfg.NoNewPrivileges(), ReservePids: true,
		Name: name, Token: p.tokens + rand.Text(),
	}, err
}

// rlimits are soft and hard limits of the process. nofile is not among them,
// because its hard limit is not lowered.
func rlimits(l config.Limits) map[string][2]uint64 {
	set := map[string][2]uint64{}
	if l.Nproc > 0 {
		set["nproc"] = [2]uint64{l.Nproc, l.Nproc}
	}
	if l.Core >= 0 {
		set["core"] = [2]uint64{uint64(l.Core), uint64(l.Core)}
	}
	return set
}

// scratch makes a directory for the sockets of a generation. It is removed with the
// generation. Only the daemon's user can change it; in it is a directory of the child's
// user, childDir, for what the child creates itself. So the child cannot replace childDir,
// nor what is beside it. For a child of another user the directory is in the system's
// temporary directory, because that user cannot enter RuntimeDir, unless the relay must reach the
// child's socket. furnish runs before childDir is given to the child's user.
func (p LaunchSpec) scratch(parent string, furnish func(childDir string) error) (dir string, err error) {
	name := p.App.Name
	dir, err = os.MkdirTemp(parent, strings.ReplaceAll(name[:min(len(name), 20)], "*", "_")+"."+strconv.Itoa(p.Number)+"-")
	if err != nil {
		return "", api.Errorf(api.ExitError, "cannot make a directory for the child's socket: %v", err)
	}
	child := childDir(dir)
	if err = os.Mkdir(child, 0o700); err == nil {
		err = furnish(child)
	}
	if err == nil && p.User != nil {
		err = errors.Join(os.Chown(child, int(p.User.UID), int(p.User.GID)), os.Chmod(dir, 0o711))
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", api.Errorf(api.ExitError, "cannot prepare %s for the child: %v", dir, err)
	}
	return dir, nil
}

// scratchParent returns the directory for the scratch directory of a generation.
func (l *Launcher) scratchParent(p LaunchSpec) (string, error) {
	if d := l.options.RelayDir; d != nil && slices.Contains(config.Placeholders(p.App.Argv()), config.Socket) {
		if p.User == nil {
			return d.Path, nil
		}
		if err := d.OpenForOthers(); err != nil {
			return "", &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("the app's user cannot reach the socket of {socket}: %v", err),
				Hint: "let other users pass (chmod o+x), or set daemon.runtime_dir (or daemon.socket) to a directory to which they can pass"}
		}
		return d.Path, nil
	}
	if p.User == nil {
		return l.options.RuntimeDir, nil
	}
	dir := os.TempDir()
	if err := checkOwnership(dir); err != nil {
		return "", api.Errorf(api.ExitError, "cannot make a directory for the child's socket: %v", err)
	}
	return dir, nil
}

// prepareDirectories makes the directories of sockets again if they were removed.
func (l *Launcher) prepareDirectories() error {
	if err := prepareRuntimeDir(l.options.RuntimeDir); err != nil {
		return err
	}
	if d := l.options.RelayDir; d != nil {
		if err := d.Prepare(); err != nil {
			return api.Errorf(api.ExitError, "cannot use the directory of private sockets: %v", err)
		}
	}
	return nil
}

// prepareRuntimeDir makes the runtime directory again if it was removed. It is an error if the
// directory belongs to another user, or others may write in it: they have made it meanwhile.
func prepareRuntimeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return api.Errorf(api.ExitError, "cannot make the runtime directory: %v", err)
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return api.Errorf(api.ExitError, "cannot use the runtime directory: %v", err)
	case !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0:
		return &api.Error{Exit: api.ExitError, Message: "cannot use the runtime directory " + dir + ": it was replaced, and others can change it", Hint: "remove it"}
	}
	return nil
}

// childDir is the directory of the child's user in a scratch directory.
func childDir(scratch string) string { return filepath.Join(scratch, "child") }

// checkOwnership returns an error if others than root and the daemon's user can replace an
// entry of theirs in dir, or in a directory above it.
func checkOwnership(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		shared := info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0
		if owner != 0 && owner != os.Geteuid() || shared {
			return fmt.Errorf("other users can replace files in %s: set TMPDIR to a directory of root's", dir)
		}
		if dir == "/" {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// extend puts a word behind the value of a variable, so that it overrides the user's own.
func extend(env []string, name, word string) []string {
	env = slices.Clone(env)
	for i, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			env[i] = name + "=" + value + " " + word
			return env
		}
	}
	return append(env, name+"="+word)
}

// prepend puts a word before the value of a variable, so that the user's own
// value, which comes later, overrides it.
func prepend(env []string, name, word string) []string {
	for i, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			env[i] = name + "=" + word + " " + value
			return env
		}
	}
	return append(env, name+"="+word)
}
