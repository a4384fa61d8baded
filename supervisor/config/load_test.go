package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/gunicorn"
)

// files writes a tree of files and returns its directory.
func files(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range tree {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, tree map[string]string) (*File, string) {
	t.Helper()
	dir := files(t, tree)
	f, err := Load(filepath.Join(dir, "tideover.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

func TestTwoApps(t *testing.T) {
	f, dir := load(t, map[string]string{"tideover.toml": `
[app.shop]
command = "venv/bin/gunicorn -w 4 --threads 2 shop.wsgi"
listen = "127.0.0.1:8000"

[app.blog]
command = ["gunicorn", "-b", "127.0.0.1:8001", "blog.wsgi:app"]
directory = "blog"
reload = "replace"
hold.timeout = "10s"
`})
	if len(f.Apps) != 2 || f.Apps[0].Name != "shop" || f.Apps[1].Name != "blog" || len(f.Warnings) != 0 {
		t.Fatalf("got %+v", f)
	}
	shop, blog := f.Apps[0], f.Apps[1]
	if shop.Directory != dir || shop.Listen[0] != "127.0.0.1:8000" || shop.ListenFrom != "listen" || shop.QueryGunicorn || shop.Gunicorn.Concurrency() != 8 {
		t.Errorf("shop is %+v", shop)
	}
	if blog.Directory != dir+"/blog" || blog.Listen[0] != "127.0.0.1:8001" || blog.ListenFrom != "command line" || blog.QueryGunicorn || blog.Reload != Replace || blog.Hold.Timeout != 10*time.Second {
		t.Errorf("blog is %+v", blog)
	}
}

// The defaults are those the interface promises.
func TestDefaults(t *testing.T) {
	f, _ := load(t, map[string]string{"tideover.toml": "[app.shop]\ncommand = \"gunicorn shop\"\n"})
	a := f.Apps[0]
	ok := a.ReloadMode() == Overlap && a.Upstream == "auto" && a.Timeout == 300*time.Second && a.Autostart && a.Restart == RestartAlways &&
		a.Instances == 1 && slices.Equal(a.ExitCodes, []int{0}) && a.ListenMode == 0o666 &&
		a.Ready.Path == "/" && !a.Ready.Explicit && a.Ready.Status.String() == "<500" && a.Ready.Timeout == time.Minute &&
		a.Hold.Limit == 1000 && a.Hold.Timeout == 30*time.Second && a.Hold.Buffer == 64<<10 && a.Hold.BufferTotal == 64<<20 && a.Hold.Alive == "" &&
		a.Stop.Signal == syscall.SIGTERM && a.Stop.Timeout == 35*time.Second && a.Drain.Timeout == 30*time.Second && a.Drain.Tunnels == 30*time.Second &&
		a.Limits.Head == 32<<10 && a.Limits.Target == 8190 && a.Limits.Fields == 100 && a.Limits.Body == 0 && a.Limits.Core == -1 && a.Umask == nil &&
		a.Buffering == "auto" &&
		a.Live == Liveness{Interval: 10 * time.Second, Timeout: 5 * time.Second, Failures: 3} && a.Memory == Memory{Interval: 10 * time.Second, Pause: time.Minute}
	if !ok {
		t.Errorf("got %+v", a)
	}
	if a.Listen[0] != "127.0.0.1:8000" || a.ListenFrom != "default" || !a.QueryGunicorn {
		t.Errorf("listens on %v from %s, ask %v", a.Listen, a.ListenFrom, a.QueryGunicorn)
	}
	if d := f.Daemon; d.LogLevel != "info" || d.ExitWhen != "never" || d.Spool != 1<<30 || d.SpoolDir != "/var/tmp" || !reflect.DeepEqual(d, DefaultDaemon()) {
		t.Errorf("got %+v", f.Daemon)
	}
}

// With buffering = "auto" the command decides.
func TestBodiesAreBufferedForWorkersThatServeOneAtATime(t *testing.T) {
	for _, c := range []struct {
		command, buffering string
		want               bool
	}{
		{"gunicorn shop", "auto", true},
		{"gunicorn -k sync shop", "auto", true},
		{"gunicorn --threads 4 shop", "auto", true},
		{"gunicorn -k gthread shop", "auto", true},
		{"gunicorn -k gevent shop", "auto", false},
		{"gunicorn -k uvicorn.workers.UvicornWorker shop", "auto", false},
		{"uvicorn --fd {fd} shop:app", "auto", false},
		{"gunicorn shop", "off", false},
		{"gunicorn -k gevent shop", "on", true},
		{"uvicorn --fd {fd} shop:app", "on", true},
	} {
		f, _ := load(t, map[string]string{"tideover.toml": fmt.Sprintf("[app.shop]\nlisten = \":8000\"\ncommand = %q\nbuffering = %q\n", c.command, c.buffering)})
		if got := f.Apps[0].BuffersBodies(); got != c.want {
			t.Errorf("%s, %s: %v", c.command, c.buffering, got)
		}
	}
}

func TestEveryKeyCanBeRead(t *testing.T) {
	f, dir := load(t, map[string]string{"tideover.toml": everyKey, "shop/.env": "PASSWORD='a b'\n", "w.txt": ""})
	a, ok := f.App("shop")
	if !ok {
		t.Fatal("there is no shop")
	}
	if a.EnvFile[0] != dir+"/shop/.env" || a.EnvFile[1] != "-/etc/none" || a.Watch.Files[0] != dir+"/shop/tmp/restart.txt" || a.Log.File != "/var/log/shop.log" {
		t.Errorf("paths are %v %v %v", a.EnvFile, a.Watch.Files, a.Log.File)
	}
	if *a.Umask != 0o27 || *a.Nice != 5 || a.Stop.Signal != syscall.SIGQUIT || a.Limits.Nofile != 65536 || a.Env["A"] != "1" {
		t.Errorf("got %+v", a)
	}
	other, _ := f.App("other")
	for _, k := range AppKeys() {
		if len(a.differences(k))+len(other.differences(k)) == 0 {
			t.Errorf("%s is not tried", k.Path)
		}
	}
}

// differences compares one key with its default.
func (a *App) differences(k Key) (found []Difference) {
	fresh := newApp("")
	fresh.completePaths("/")
	fresh.complete(nil, nil)
	for _, d := range Differences(fresh, a) {
		if d.Key.Path == k.Path {
			found = append(found, d)
		}
	}
	return found
}

const everyKey = `
[daemon]
socket_group = "deploy"
socket_mode = "0660"
exit_when = "failed"
[app.other]
command = "sleep 1"
instances = 3
ready.command = ["test", "-e", "/run/x"]
[app.shop]
command = "gunicorn shop"
listen = ["127.0.0.1:8000", "unix:/run/shop.sock"]
listen_mode = "0660"
directory = "shop"
user = "www-data"
group = "www-data"
umask = "027"
env = { A = "1" }
env_file = [".env", "-/etc/none"]
env_clear = true
env_pass = ["AWS_REGION"]
revision = "git describe"
relay = "none"
reload = "replace"
upstream = "unix"
buffering = "on"
timeout = "10s"
autostart = false
restart = "on-failure"
exit_codes = [0, 3]
after = "other"
labels = ["site"]
supervisor_names = "site:shop"
trusted = ["10.0.0.0/8"]
half_close = "serve"
listen_proxy_protocol = true
on_leave = "finish"
underscores = "pass"
connection_named = "remove"
resend = ["safe", "key"]
nice = 5
oom_score_adj = -5
no_new_privs = true
ready = { path = "/up", host = "shop.example", status = "200", timeout = "5s", warm = ["/a", "/b"], after = "6s", notify = true }
live = { path = "/live", interval = "20s", timeout = "2s", failures = 5 }
memory = { max = "1GiB", interval = "5s", pause = "5m" }
hold = { limit = 5, timeout = "5s", max_for = "1h", buffer = "1KiB", buffer_total = "1MiB", alive = "/alive", page = "503.html", retry_after = "9s" }
agent.listen = "127.0.0.1:8100"
stop = { signal = "QUIT", timeout = "40s", tree = true }
drain = { timeout = "5s", tunnels = "5s" }
log = { file = "/var/log/shop.log", max_size = "5MiB", every = "1d", backups = 9, max_age = "30d", compress = false, mode = "0600", stdout = false, journal = true, merge_stderr = true, access = "slow", access_slow = "2s", access_format = "json", access_file = "/var/log/shop.access", buffer = "1MiB" }
watch = { files = "tmp/restart.txt", debounce = "1s" }
hooks = { before_start = "a b", after_ready = "a", after_reload = "a", on_failure = "a", timeout = "5s" }
[app.shop.limits]
head = "8KiB"
target = "4KiB"
field = "2KiB"
fields = 50
body = "10MiB"
head_timeout = "5s"
body_timeout = "5s"
send_timeout = "5s"
min_rate = "1KiB"
min_rate_worker = "2KiB"
max_connections = 500
tunnel_timeout = "5m"
idle_timeout = "5s"
nofile = 65536
nproc = 100
core = "0B"
`

func TestDefaultsTableAndIncludes(t *testing.T) {
	f, _ := load(t, map[string]string{
		"tideover.toml": `
include = ["conf.d/*.toml", "extra/*.toml"]
[defaults]
env = { A = "1", B = "1" }
hold.timeout = "10s"
user = "www-data"
[app.shop]
command = "gunicorn -b :8001 shop"
env = { B = "2", C = "2" }
`,
		"conf.d/b.toml": "[app.b]\ncommand = \"gunicorn -b :8003 b\"\nhold.timeout = \"5s\"\n",
		"conf.d/a.toml": "[app.a]\ncommand = \"gunicorn -b :8002 a\"\n",
	})
	var names []string
	for _, a := range f.Apps {
		names = append(names, a.Name)
	}
	if strings.Join(names, " ") != "shop a b" {
		t.Errorf("got %v", names)
	}
	shop, a, b := f.Apps[0], f.Apps[1], f.Apps[2]
	if !maps.Equal(shop.Env, map[string]string{"A": "1", "B": "2", "C": "2"}) || !maps.Equal(a.Env, map[string]string{"A": "1", "B": "1"}) {
		t.Errorf("env is %v and %v", shop.Env, a.Env)
	}
	if a.User != "www-data" || a.Hold.Timeout != 10*time.Second || b.Hold.Timeout != 5*time.Second {
		t.Errorf("got %v %v %v", a.User, a.Hold.Timeout, b.Hold.Timeout)
	}
}

func TestEnvironment(t *testing.T) {
	dir := files(t, map[string]string{".env": "A=file\nB=file\nexport C=\"c d\"\n"})
	a := &App{EnvFile: []string{".env", "-missing"}, Env: map[string]string{"B": "table"}}
	base := []string{"A=base", "D=base", "LISTEN_FDS=1", "NOTIFY_SOCKET=/x", "TIDEOVER_SOCKET=/y", "LC_ALL=C"}
	env, err := a.Environment(dir, base)
	if want := "A=file B=table C=c d D=base LC_ALL=C PYTHONUNBUFFERED=1"; err != nil || strings.Join(env, " ") != want {
		t.Errorf("got %q, %v", env, err)
	}
	a.EnvClear, a.EnvPass = true, []string{"E"}
	env, _ = a.Environment(dir, append(base, "E=e", "PYTHONUNBUFFERED=0"))
	if want := "A=file B=table C=c d E=e LC_ALL=C PYTHONUNBUFFERED=1"; strings.Join(env, " ") != want {
		t.Errorf("cleared: %q", env)
	}
	a.EnvFile = []string{"missing"}
	if _, err := a.Environment(dir, nil); err == nil {
		t.Error("a missing file was not missed")
	}
	os.WriteFile(filepath.Join(dir, "bad"), []byte("A=1\nno separator\n"), 0o600)
	a.EnvFile = []string{"bad"}
	if _, err := a.Environment(dir, nil); err == nil || !strings.Contains(err.Error(), "bad:2: ") {
		t.Errorf("got %v", err)
	}
}

// The user that started tideover keeps its sockets, agents and credentials to itself.
func TestAnAppOfAnotherUserDoesNotInheritTheSession(t *testing.T) {
	base := []string{"A=1", "SSH_AUTH_SOCK=/tmp/agent", "SSH_CONNECTION=x", "SUDO_USER=admin", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus",
		"LISTEN_FDS=1", "LISTEN_OTHER=1", "NOTIFY_SOCKET=/n", "NOTIFY_OTHER=1", "CREDENTIALS_DIRECTORY=/run/credentials/x", "TIDEOVER_SOCKET=/y", "SSHD=kept", "ROOT_SECRET=s"}
	all := "A=1 CREDENTIALS_DIRECTORY=/run/credentials/x DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus LISTEN_OTHER=1 NOTIFY_OTHER=1 PYTHONUNBUFFERED=1 " +
		"ROOT_SECRET=s SSHD=kept SSH_AUTH_SOCK=/tmp/agent SSH_CONNECTION=x SUDO_USER=admin"
	other := strconv.Itoa(os.Geteuid() + 1234)
	for _, c := range []struct {
		app  App
		want string
	}{
		{App{}, all},
		{App{User: strconv.Itoa(os.Geteuid())}, all},
		{App{Group: "0"}, all},
		{App{User: other, Group: "0"}, "A=1 PYTHONUNBUFFERED=1 ROOT_SECRET=s SSHD=kept"},
		{App{User: other}, "A=1 PYTHONUNBUFFERED=1 ROOT_SECRET=s SSHD=kept"},
		{App{User: "no-such-user"}, "A=1 PYTHONUNBUFFERED=1 ROOT_SECRET=s SSHD=kept"},
		{App{User: other, EnvPass: []string{"SSH_AUTH_SOCK", "TIDEOVER_SOCKET", "NOTIFY_SOCKET"}}, "A=1 PYTHONUNBUFFERED=1 ROOT_SECRET=s SSHD=kept SSH_AUTH_SOCK=/tmp/agent"},
		{App{User: other, EnvClear: true, EnvPass: []string{"SUDO_USER"}}, "PYTHONUNBUFFERED=1 SUDO_USER=admin"},
		{App{User: other, EnvClear: true, Env: map[string]string{"SSH_AUTH_SOCK": "mine", "NOTIFY_SOCKET": "mine"}}, "NOTIFY_SOCKET=mine PYTHONUNBUFFERED=1 SSH_AUTH_SOCK=mine"},
	} {
		env, err := c.app.Environment("/", base)
		if got := strings.Join(env, " "); err != nil || got != c.want {
			t.Errorf("user %q, group %q, env_clear %v, env_pass %v, env %v:\n%s, %v\nwant\n%s", c.app.User, c.app.Group, c.app.EnvClear, c.app.EnvPass, c.app.Env, got, err, c.want)
		}
	}
}

func TestInheritedSecretsOfAnAppOfAnotherUserAreNamed(t *testing.T) {
	environ := []string{"ROOT_SECRET=s3cret", "DATABASE_URL=redis://:pw@host", "SSH_AUTH_TOKEN=x", "PATH=/bin", "API_KEY="}
	other := strconv.Itoa(os.Geteuid() + 1234)
	for _, c := range []struct {
		app  App
		want string
	}{
		{App{User: other}, "DATABASE_URL ROOT_SECRET"},
		{App{User: other, EnvPass: []string{"DATABASE_URL"}}, "ROOT_SECRET"},
		{App{User: other, EnvClear: true, EnvPass: []string{"DATABASE_URL"}}, ""},
		{App{User: strconv.Itoa(os.Geteuid())}, ""},
		{App{}, ""},
	} {
		if got := strings.Join(c.app.InheritedSecrets(environ), " "); got != c.want {
			t.Errorf("user %q, env_clear %v, env_pass %v: %q, want %q", c.app.User, c.app.EnvClear, c.app.EnvPass, got, c.want)
		}
	}
}

func TestNoNewPrivilegesIsTheDefaultOfAnotherUser(t *testing.T) {
	own, other := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Geteuid()+1234)
	f, _ := load(t, map[string]string{"tideover.toml": fmt.Sprintf(`
[app.daemons]
command = "cat"
[app.named]
command = "cat"
user = %q
[app.other]
command = "cat"
user = %q
[app.off]
command = "cat"
user = %q
no_new_privs = false
[app.on]
command = "cat"
no_new_privs = true
`, own, other, other)})
	for name, want := range map[string]bool{"daemons": false, "named": false, "other": true, "off": false, "on": true} {
		a, _ := f.App(name)
		if got := a.NoNewPrivileges(); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	off, _ := f.App("off")
	before := *off
	before.NoNewPrivs = nil
	all := Differences(&before, off)
	if len(all) != 1 || all[0].Key.Path != "no_new_privs" || all[0].Key.Change != Next {
		t.Fatalf("got %+v", all)
	}
	if b, a := all[0].Texts(); b != "" || a != "false" {
		t.Errorf("the difference is %q to %q", b, a)
	}
}

func TestFaultsAreAllToldAndWarningsAmongThem(t *testing.T) {
	dir := files(t, map[string]string{"tideover.toml": `
[app.shop]
command = "gunicorn --reload shop"
timeout = "30"
hold_timeout = "30s"
`})
	_, err := Load(filepath.Join(dir, "tideover.toml"))
	var faults *Error
	if !errors.As(err, &faults) || faults.Errors() != 2 || len(faults.Problems) != 3 {
		t.Fatalf("got %v", err)
	}
	want := dir + `/tideover.toml:5:1: unknown key "hold_timeout" in [app.shop]
    5 │ hold_timeout = "30s"
      │ ^^^^^^^^^^^^  did you mean hold.timeout?`
	if !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got\n%v", err)
	}
}

func TestWithGunicornReport(t *testing.T) {
	f, dir := load(t, map[string]string{"tideover.toml": "[app.shop]\ncommand = \"gunicorn -c conf.py shop\"\n"})
	a := f.Apps[0]
	reported, err := a.WithGunicornReport(gunicorn.Report{Bind: []string{"unix:shop.sock", ":8001"}, Chdir: dir, Workers: 3, Threads: 1, WorkerClass: "sync"})
	if err != nil || reported.Listen[0] != "unix:"+dir+"/shop.sock" || reported.Listen[1] != "0.0.0.0:8001" || reported.ListenFrom != "gunicorn" || reported.QueryGunicorn || !a.QueryGunicorn {
		t.Errorf("got %+v, %v", reported, err)
	}
	if _, err := a.WithGunicornReport(gunicorn.Report{Bind: []string{":8001"}, Daemon: true}); err == nil {
		t.Error("daemon = True in the file was not refused")
	}
	if _, err := a.WithGunicornReport(gunicorn.Report{Bind: []string{"fd://3"}}); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("fd://: %v", err)
	}
}

func TestDifferences(t *testing.T) {
	f, _ := load(t, map[string]string{"tideover.toml": "[app.a]\ncommand = \"gunicorn -b :1 a\"\n[app.b]\ncommand = \"gunicorn -b :2 a\"\nhold.limit = 5\n"})
	all := Differences(f.Apps[0], f.Apps[1])
	if len(all) != 3 || all[0].Key.Path != "command" || all[1].Key.Path != "listen" || all[2].After != 5 || Strongest(all) != Reopen {
		t.Errorf("got %+v", all)
	}
	if Strongest(Differences(f.Apps[0], f.Apps[0])) != "" {
		t.Error("an app differs from itself")
	}
}

// Limits and trusted front-ends of gunicorn are taken over where the configuration says nothing.
func TestLimitsAndFrontEndsOfGunicorn(t *testing.T) {
	f, _ := load(t, map[string]string{"tideover.toml": `
[app.plain]
command = "gunicorn -b :1 a"
[app.set]
command = "gunicorn -b :2 a"
trusted = ["127.0.0.1"]
limits = { head = "32KiB", target = "8190B", field = "8190B", fields = 100 }
`})
	defaults := gunicorn.Report{Version: "23.0.0", Bind: []string{":1"}, RequestLine: 4094, RequestFields: 100, RequestFieldSize: 8190, WorkerKind: "sync", ForwardedAllowIPs: []string{"127.0.0.1", "::1"}}
	with := func(change func(*gunicorn.Report)) gunicorn.Report {
		r := defaults
		change(&r)
		return r
	}
	type limits struct {
		head, target, field int64
		fields              int
	}
	own := limits{32 << 10, 8190, 0, 100}
	for _, c := range []struct {
		name     string
		report   gunicorn.Report
		want     limits
		trusted  string
		warnings int
	}{
		{"defaults", defaults, own, "127.0.0.0/8 ::1 unix", 0},
		{"lower", with(func(r *gunicorn.Report) { r.RequestLine, r.RequestFields, r.RequestFieldSize = 100, 10, 100 }), own, "127.0.0.0/8 ::1 unix", 0},
		{"no limit of the line", with(func(r *gunicorn.Report) { r.RequestLine = 0 }), limits{256 << 10, 64 << 10, 0, 100}, "127.0.0.0/8 ::1 unix", 1},
		{"no limits", with(func(r *gunicorn.Report) { r.RequestLine, r.RequestFields, r.RequestFieldSize = 0, 0, 0 }), limits{256 << 10, 64 << 10, 0, 10_000}, "127.0.0.0/8 ::1 unix", 2},
		{"a longer field", with(func(r *gunicorn.Report) { r.RequestFieldSize = 16_000 }), limits{256 << 10, 8190, 16_000, 100}, "127.0.0.0/8 ::1 unix", 0},
		{"a field beyond all bounds", with(func(r *gunicorn.Report) { r.RequestFieldSize = 10 << 20 }), limits{256 << 10, 8190, 256 << 10, 100}, "127.0.0.0/8 ::1 unix", 1},
		{"every front-end", with(func(r *gunicorn.Report) { r.ForwardedAllowIPs = []string{"*"} }), own, "0.0.0.0/0 ::/0 unix", 0},
		{"some front-ends", with(func(r *gunicorn.Report) { r.ForwardedAllowIPs = []string{"127.0.0.1", "10.0.0.0/8", " "} }), own, "127.0.0.1 10.0.0.0/8 unix", 0},
		{"not tideover", with(func(r *gunicorn.Report) { r.ForwardedAllowIPs = []string{"10.0.0.1"} }), own, "10.0.0.1 unix", 0},
		{"none", with(func(r *gunicorn.Report) { r.ForwardedAllowIPs = []string{""} }), own, "unix", 0},
	} {
		a, err := f.Apps[0].WithGunicornReport(c.report)
		if err != nil {
			t.Fatal(err)
		}
		if got := (limits{a.Limits.Head, a.Limits.Target, a.Limits.Field, a.Limits.Fields}); got != c.want || strings.Join(a.Trusted, " ") != c.trusted {
			t.Errorf("%s: %+v, trusted %v", c.name, got, a.Trusted)
		}
		if w := a.WarningsAfter(f.Apps[0]); len(w) != c.warnings {
			t.Errorf("%s: warnings %v", c.name, w)
		}
		a, err = f.Apps[1].WithGunicornReport(c.report)
		if err != nil || a.Limits.Head != 32<<10 || a.Limits.Target != 8190 || a.Limits.Field != 8190 || a.Limits.Fields != 100 || strings.Join(a.Trusted, " ") != "127.0.0.1" {
			t.Errorf("%s: what the configuration sets became %+v, trusted %v, %v", c.name, a.Limits, a.Trusted, err)
		}
	}
}
