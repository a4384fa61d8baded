package supervisor

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

// post is where, and as whom, the processes of one generation run. It is found
// out once, so that a hook runs in the release whose process it precedes.
type post struct {
	settings *config.App
	number   int           // of the generation
	dir      string        // symlinks resolved
	user     *process.User // nil: as the daemon
}

// post looks where an app's processes would run now.
func (h *house) post(cfg *config.App, number int) (post, error) {
	p := post{settings: cfg, number: number}
	var err error
	if cfg.User != "" || cfg.Group != "" {
		if p.user, err = process.ResolveUser(cfg.User, cfg.Group); err != nil {
			return p, startFailed(cfg.Name, &process.StartError{Step: "user", Err: err})
		}
	}
	if p.dir, err = filepath.EvalSymlinks(cfg.Directory); err != nil {
		return p, startFailed(cfg.Name, &process.StartError{Step: "directory", Path: cfg.Directory, Err: plainPath(err)})
	}
	return p, nil
}

// identity are the variables that say who somebody is.
var identity = []string{"HOME", "USER", "LOGNAME", "SHELL"}

// environment is what the processes get, the env files read anew. Who runs as
// another user than the daemon has that one's identity, unless the app's
// settings say otherwise.
func (p post) environment() ([]string, error) {
	base := os.Environ()
	if p.user != nil {
		base = slices.DeleteFunc(base, func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return slices.Contains(identity, name)
		})
		base = append(base, p.user.Env()...)
	}
	env, err := p.settings.Environment(p.dir, base)
	if err != nil {
		return nil, &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	env = append(env, "TIDEOVER_APP="+p.settings.Name, "TIDEOVER_GENERATION="+strconv.Itoa(p.number))
	if p.settings.Instance > 0 {
		env = append(env, "TIDEOVER_INSTANCE="+strconv.Itoa(p.settings.Instance))
	}
	return env, nil
}

// spec is what all processes of the generation have in common: its server, its
// hooks, the command that tells whether it is ready.
func (p post) spec(argv []string, name string) (process.Spec, error) {
	env, err := p.environment()
	cfg := p.settings
	return process.Spec{
		Argv: argv, Dir: p.dir, Env: env, User: p.user,
		Umask: cfg.Umask, Nofile: cfg.Limits.Nofile, Limits: limits(cfg.Limits),
		Nice: cfg.Nice, OOMScoreAdj: cfg.OOMScoreAdj, NoNewPrivs: cfg.NoNewPrivs,
		Name: name, Token: rand.Text(),
	}, err
}

// limits are those of the process, soft and hard; nofile is a case of its own,
// because its hard limit is not lowered.
func limits(l config.Limits) map[string][2]uint64 {
	set := map[string][2]uint64{}
	if l.Nproc > 0 {
		set["nproc"] = [2]uint64{l.Nproc, l.Nproc}
	}
	if l.Core >= 0 {
		set["core"] = [2]uint64{uint64(l.Core), uint64(l.Core)}
	}
	return set
}

// scratch makes a directory for what the child of one generation creates
// itself: its socket, or gunicorn's control socket. It goes with the
// generation. Another user's child could not come to it through ours. What is
// made in it by furnish is there before the directory is the child's: nobody
// can put anything else in its place meanwhile.
func (p post) scratch(runtimeDir string, furnish func(dir string) error) (string, error) {
	parent := runtimeDir
	if p.user != nil {
		parent = "" // the system's
	}
	name := p.settings.Name
	dir, err := os.MkdirTemp(parent, strings.ReplaceAll(name[:min(len(name), 20)], "*", "_")+"."+strconv.Itoa(p.number)+"-")
	if err != nil {
		return "", api.Errorf(api.ExitError, "cannot make a directory for the child's socket: %v", err)
	}
	if err := furnish(dir); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	if p.user != nil {
		if err := os.Chown(dir, int(p.user.UID), int(p.user.GID)); err != nil {
			os.RemoveAll(dir)
			return "", api.Errorf(api.ExitError, "cannot give %s to user %s: %v", dir, p.user.Name, err)
		}
	}
	return dir, nil
}
