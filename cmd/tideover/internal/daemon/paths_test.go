package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

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
