//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// gunicorn is asked for its address, and reloaded without a lost request, in the commands that
// people type: through a shim, in a shell that does not replace itself, behind wrappers that fork,
// by a start script; with files beside the app that have the names of modules.
func TestCommandsAsTheyAreTyped(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"20.1.0", "23.0.0", "latest"} {
		for _, form := range []string{"shadowed", "shim", "shell", "pipe", "timeout", "script"} {
			if !sampled(version == "latest" || form == "shadowed") { // its own files shadow those of gunicorn
				continue
			}
			t.Run(version+"-"+form, func(t *testing.T) {
				r := begin(t)
				shop, err := r.env.NewApp("shop", testenv.Release{Number: 1, Import: 0.3})
				r.must(err)
				address := r.unusedAddress()
				settings, err := r.env.Write("gunicorn_settings.py", fmt.Sprintf("import random, socket\nbind = %q\nworkers = 2\n", address))
				r.must(err)
				daemon, err := r.env.Tideover(shop, testenv.RunOptions{Command: r.typed(form, version, settings, shop.Dir)})
				r.must(err)
				s := &fixture{row: r, app: shop, daemon: daemon, client: &loadgen.Client{Address: address, Prefix: form}}
				r.must(waitAnswer(r, s.client))
				s.reloadAndRestart(40)
			})
		}
	}
}

// typed returns the command of a form.
func (r *row) typed(form, version, settings, dir string) []string {
	r.Helper()
	gunicorn := r.env.Venv("gunicorn-"+version, "gunicorn")
	program := func(name, text string) string {
		path, err := r.env.Write(name, text)
		r.must(err)
		r.must(os.Chmod(path, 0o755))
		return path
	}
	switch form {
	case "shadowed":
		for _, name := range []string{"gunicorn.py", "json.py", "random.py", "socket.py"} {
			r.must(os.WriteFile(filepath.Join(dir, name), nil, 0o644))
		}
		return []string{gunicorn, "-c", settings, "shop:app"}
	case "shim":
		shim := program("shims/gunicorn", fmt.Sprintf("#!/usr/bin/env bash\nset -e\nprogram=\"${0##*/}\"\nexec %q/\"$program\" \"$@\"\n", filepath.Dir(gunicorn)))
		return []string{shim, "-c", settings, "shop:app"}
	case "shell":
		return []string{"bash", "-c", "export STAGE=test && " + gunicorn + " -c " + settings + " shop:app"}
	case "pipe":
		return []string{"bash", "-c", gunicorn + " -c " + settings + " shop:app 2>&1 | cat"}
	case "timeout":
		return []string{"timeout", "3600", "nice", gunicorn, "-c", settings, "shop:app"}
	}
	return []string{program("gunicorn_start", fmt.Sprintf(`#!/bin/bash
NAME="shop"
NUM_WORKERS=2
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
echo "Starting $NAME as `+"`whoami`"+`"
test -d $HERE/run || mkdir -p $HERE/run
exec %s shop:app \
  --name $NAME \
  --workers $NUM_WORKERS \
  -c $HERE/gunicorn_settings.py
`, gunicorn))}
}

// What gunicorn's configuration file says is refused as the option is.
func TestRefusedInTheConfigurationFile(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"20.1.0", "23.0.0", "latest"} {
		for setting, option := range map[string]string{
			"pidfile = 'shop.pid'": "--pid", "daemon = True": "--daemon", "reuse_port = True": "--reuse-port",
			"certfile = 'c.pem'": "--certfile",
		} {
			t.Run(version+option, func(t *testing.T) {
				r := begin(t)
				shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
				r.must(err)
				settings, err := r.env.Write("gunicorn_settings.py", setting+"\n")
				r.must(err)
				command := []string{r.env.Venv("gunicorn-"+version, "gunicorn"), "-b", r.unusedAddress(), "-c", settings, "shop:app"}
				daemon, err := r.env.Tideover(shop, testenv.RunOptions{Command: command})
				r.must(err)
				select {
				case <-daemon.Exited():
				case <-r.timeout(20 * time.Second).Done():
					r.Fatal("it was not refused")
				}
				if said := daemon.Tail(20); daemon.Code() != 2 || !strings.Contains(said, option) {
					r.Errorf("exit %d: %s", daemon.Code(), said)
				}
				r.checkNoneLeft()
				r.addNumbers("exit=%d", daemon.Code())
			})
		}
	}
}
