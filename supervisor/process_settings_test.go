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
	r := open(t, "worker", withoutListen(shell("{ "+printProcessSettings+"} > "+notes+".app; exec sleep 1000")...), func(a *config.App) {
		a.Directory, a.User, a.EnvClear = filepath.Join(root, "current"), "daemon", true
		a.Umask, a.Nice, a.OOMScoreAdj, a.NoNewPrivs = number(0o027), number(7), number(300), true
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
