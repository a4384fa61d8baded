package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// printProcessSettings has a shell tell what a process of the app has been given.
const printProcessSettings = `
echo "umask $(umask)"
echo "nofile $(ulimit -Sn) $(ulimit -Hn)"
echo "core $(ulimit -Sc)"
awk '/^Max processes/ { print "nproc " $3 " " $4 }' /proc/self/limits
awk '/^NoNewPrivs|^Groups/ { print }' /proc/$$/status
echo "nice $(awk '{ print $19 }' /proc/$$/stat)"
echo "oom $(cat /proc/$$/oom_score_adj)"
echo "session $(awk -v pid=$$ '{ print ($6 == pid) }' /proc/$$/stat)"
echo "who $(id -u) $(id -g) $HOME $USER $LOGNAME $SHELL"
echo "daemon's ${NOTIFY_SOCKET-none} ${LISTEN_FDS-none} secret ${TESTPROGRAM_SECRET-none} path ${PATH:+set} unbuffered $PYTHONUNBUFFERED"
echo "dir $(pwd -P)"
`

// TestProcessSettings sets all that a configuration can set of a process, and finds
// it in the app's own process and in its hooks.
func TestProcessSettings(t *testing.T) {
	t.Setenv("TESTPROGRAM_SECRET", "of the daemon")
	t.Setenv("NOTIFY_SOCKET", "/run/of-the-daemon")
	if os.Getuid() != 0 {
		t.Fatal("only root can start an app as another user")
	}
	root := openToAll(t)
	release(t, filepath.Join(root, "current"), filepath.Join(root, "1"))
	notes := filepath.Join(root, "notes")
	number := func(n int) *int { return &n }
	yes := true
	r := open(t, "worker", withoutListen(shell("{ "+printProcessSettings+"} > "+notes+".app; exec sleep 1000")...), func(a *config.App) {
		a.Directory, a.User, a.EnvClear = filepath.Join(root, "current"), "daemon", true
		a.Umask, a.Nice, a.OOMScoreAdj, a.NoNewPrivs = number(0o027), number(7), number(300), &yes
		a.Limits.Nofile, a.Limits.Nproc, a.Limits.Core = 777, 4000, 0
		a.Hooks.BeforeStart = shell("{ " + printProcessSettings + "} > " + notes + ".hook")
		a.Env["LOGNAME"] = "deploy"
	})
	st := r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	if st.Directory != filepath.Join(root, "1") {
		t.Errorf("status names the directory %s", st.Directory)
	}
	for _, of := range []string{".app", ".hook"} {
		told := notesFile(notes + of)
		told.until(r, "dir ") // the last of the facts: a plain process counts as running while its shell still tells them
		facts := strings.Join(told.lines(), "\n") + "\n"
		for _, want := range []string{
			"umask 0027\n", "nofile 777 ", "core 0\n", "nproc 4000 4000\n", "NoNewPrivs:\t1\n", "Groups:\t1 \n", "nice 7\n", "oom 300\n", "session 1\n",
			"who 1 1 /usr/sbin daemon deploy /usr/sbin/nologin\n", "daemon's none none secret none path set unbuffered 1\n",
			"dir " + filepath.Join(root, "1") + "\n",
		} {
			if !strings.Contains(facts, want) {
				t.Errorf("%s: no %q in:\n%s", of, want, facts)
			}
		}
	}
	release(t, filepath.Join(root, "current"), filepath.Join(root, "2"))
	r.want(r.do(api.Reload), api.ExitOK)
	if st := r.status(); st.Directory != filepath.Join(root, "2") {
		t.Errorf("after a new release status names the directory %s", st.Directory)
	}
}

// An app of another user, its hooks among them, gains nothing by sudo and inherits
// nothing of the session that started tideover, unless its settings say so.
func TestAppsOfAnotherUserGetNoPrivilegesAndNoSession(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/tmp/agent")
	t.Setenv("SUDO_USER", "admin")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/0/bus")
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/tideover.service")
	t.Setenv("NOTIFY_SOCKET", "/run/of-the-daemon")
	if os.Getuid() != 0 {
		t.Fatal("only root can start an app as another user")
	}
	const session = "agent ${SSH_AUTH_SOCK-none} sudo ${SUDO_USER-none} bus ${DBUS_SESSION_BUS_ADDRESS-none} credentials ${CREDENTIALS_DIRECTORY-none} notify ${NOTIFY_SOCKET-none}"
	facts := `awk '/^NoNewPrivs/ { printf "%s ", $2 }' /proc/$$/status; echo "` + session + `"`
	all := "agent /tmp/agent sudo admin bus unix:path=/run/user/0/bus credentials /run/credentials/tideover.service notify none"
	no, yes := false, true
	for name, c := range map[string]struct {
		user    string
		pass    []string
		nnp     *bool
		privs   string
		session string
	}{
		"other user":                      {"daemon", nil, nil, "1", "agent none sudo none bus none credentials none notify none"},
		"other user, no_new_privs off":    {"daemon", nil, &no, "0", "agent none sudo none bus none credentials none notify none"},
		"other user, with env_pass":       {"daemon", []string{"SSH_AUTH_SOCK", "NOTIFY_SOCKET"}, nil, "1", "agent /tmp/agent sudo none bus none credentials none notify none"},
		"the daemon's user":               {"", nil, nil, "0", all},
		"the daemon's user, named":        {"root", nil, nil, "0", all},
		"the daemon's user, with the key": {"root", nil, &yes, "1", all},
	} {
		t.Run(name, func(t *testing.T) {
			notes := filepath.Join(openToAll(t), "notes")
			r := open(t, "worker", withoutListen(shell("{ "+facts+"; } > "+notes+".app; exec sleep 1000")...), func(a *config.App) {
				a.Directory, a.User, a.EnvPass, a.NoNewPrivs = "/", c.user, c.pass, c.nnp
				a.Hooks.BeforeStart = shell("{ " + facts + "; } > " + notes + ".hook")
			})
			r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
			for _, of := range []string{".app", ".hook"} {
				if told := notesFile(notes+of).until(r, "notify"); told != c.privs+" "+c.session {
					t.Errorf("%s: %q, want %q", of, told, c.privs+" "+c.session)
				}
			}
		})
	}
}

// openToAll is a directory that any user can reach and write into.
func openToAll(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "care")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
