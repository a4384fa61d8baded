package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tideover/supervisor/config"
)

// Root's XDG_STATE_HOME counts only if no other user can change what is in it.
func TestStateDirOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root; TestStateDirOfAUser has the other users")
	}
	t.Parallel()
	own, foreign, open := t.TempDir(), t.TempDir(), t.TempDir()
	if err := errors.Join(os.Chmod(own, 0o755), os.Chown(foreign, 1000, -1), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	for home, want := range map[string]string{
		"": "/var/lib/tideover", own: own + "/tideover", foreign: "/var/lib/tideover", open: "/var/lib/tideover",
		own + "/missing": "/var/lib/tideover", "state": "/var/lib/tideover",
	} {
		d := &daemon{Options: Options{Config: &config.File{}, Getenv: func(name string) string {
			return map[string]string{"XDG_STATE_HOME": home, "HOME": foreign}[name]
		}}}
		if got := d.stateDir("/run/tideover/control.sock"); got != want {
			t.Errorf("%q: %s, want %s", home, got, want)
		}
	}
}

func TestTheControlSocketIsInTheRuntimeDirOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flag string
		keys config.Daemon
		want string
	}{
		{"", config.Daemon{}, "/run/tideover/control.sock"},
		{"", config.Daemon{RuntimeDir: "/run/shop"}, "/run/shop/control.sock"},
		{"", config.Daemon{RuntimeDir: "/run/shop", Socket: "/run/other/x.sock"}, "/run/other/x.sock"},
		{"/run/y.sock", config.Daemon{RuntimeDir: "/run/shop"}, "/run/y.sock"},
	} {
		d := &daemon{Options: Options{Socket: c.flag, RuntimeDir: "/run/tideover", Config: &config.File{Daemon: c.keys}}}
		if got := d.socketPath(); got != c.want {
			t.Errorf("%+v: %s, want %s", c, got, c.want)
		}
	}
}

func TestStateDirOfAUser(t *testing.T) {
	t.Parallel()
	uid := os.Geteuid()
	home, named := t.TempDir(), t.TempDir()
	foreign := "/" // root's, when we are not
	if uid == 0 {
		foreign = t.TempDir()
		if err := os.Chown(foreign, 4711, -1); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		state, home, account, want string
	}{
		"XDG_STATE_HOME":           {named, home, "", named + "/tideover"},
		"HOME":                     {"", home, "", home + "/.local/state/tideover"},
		"HOME that is to be made":  {"", home + "/new", "", home + "/new/.local/state/tideover"},
		"another user's HOME":      {"", foreign, home, home + "/.local/state/tideover"},
		"another user's state":     {foreign, home, "", home + "/.local/state/tideover"},
		"a home that is no home":   {"", "/dev/null", file, "/run/user/1/state"},
		"no HOME, no account":      {"", "", "", "/run/user/1/state"},
		"an account without a dir": {"", foreign, foreign + "/nonexistent", "/run/user/1/state"},
	} {
		if got := userStateDir(uid, []string{c.state}, []string{c.home, c.account}, "/run/user/1"); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}
