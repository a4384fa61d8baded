package generation

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// LaunchSpec is the directory and the user of a generation's processes. It is
// resolved once, so that hooks and the server use the same release even if the
// symlink changes meanwhile.
type LaunchSpec struct {
	App    *config.App
	Number int           // of the generation
	Dir    string        // symlinks resolved
	User   *process.User // nil: as the daemon
}

// newLaunchSpec resolves the directory and the user of an app.
func newLaunchSpec(cfg *config.App, number int) (LaunchSpec, error) {
	p := LaunchSpec{App: cfg, Number: number}
	var err error
	if cfg.User != "" || cfg.Group != "" {
		if p.User, err = process.ResolveUser(cfg.User, cfg.Group); err != nil {
			return p, startFailed(cfg.Name, &process.StartError{Step: "user", Err: err})
		}
	}
	if p.Dir, err = filepath.EvalSymlinks(cfg.Directory); err != nil {
		return p, startFailed(cfg.Name, &process.StartError{Step: "directory", Path: cfg.Directory, Err: PathCause(err)})
	}
	return p, nil
}

// identityVars are the environment variables that name the user.
var identityVars = []string{"HOME", "USER", "LOGNAME", "SHELL"}

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
	env, err := p.App.Environment(p.Dir, base)
	if err != nil {
		return nil, &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	env = append(env, "TIDEOVER_APP="+p.App.Name, "TIDEOVER_GENERATION="+strconv.Itoa(p.Number))
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
		Nice: cfg.Nice, OOMScoreAdj: cfg.OOMScoreAdj, NoNewPrivs: cfg.NoNewPrivileges(),
		Name: name, Token: rand.Text(),
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

// scratch makes a directory for what the child creates: its socket, or gunicorn's
// control socket. It is removed with the generation. For a child of another user
// it is in the system's temporary directory, because that user cannot enter
// runtimeDir. furnish runs before the directory is given to the child's user, which
// therefore cannot replace what furnish makes.
func (p LaunchSpec) scratch(runtimeDir string, furnish func(dir string) error) (string, error) {
	parent := runtimeDir
	if p.User != nil {
		parent = "" // the system's
	}
	name := p.App.Name
	dir, err := os.MkdirTemp(parent, strings.ReplaceAll(name[:min(len(name), 20)], "*", "_")+"."+strconv.Itoa(p.Number)+"-")
	if err != nil {
		return "", api.Errorf(api.ExitError, "cannot make a directory for the child's socket: %v", err)
	}
	if err := furnish(dir); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	if p.User != nil {
		if err := os.Chown(dir, int(p.User.UID), int(p.User.GID)); err != nil {
			os.RemoveAll(dir)
			return "", api.Errorf(api.ExitError, "cannot give %s to user %s: %v", dir, p.User.Name, err)
		}
	}
	return dir, nil
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
