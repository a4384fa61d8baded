package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is a tree of files that other users may enter.
func machine(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := files(t, tree)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inspectAs inspects with two users beside root: www-data, which owns no file,
// and the user of the test.
func inspectAs(t *testing.T, euid int, dir string) string {
	t.Helper()
	f, err := Load(filepath.Join(dir, "tideover.toml"))
	if err != nil {
		t.Fatal(err)
	}
	i := inspector{euid: euid, identify: func(name, group string) (identity, error) {
		switch {
		case name == "" && euid == 0, name == "root":
			return identity{name: "root"}, nil
		case name == "www-data":
			return identity{name: name, uid: 65001, gids: []uint32{65001}}, nil
		case name == "us" || name == "":
			return identity{name: "us", uid: uint32(os.Geteuid()), gids: []uint32{uint32(os.Getegid())}}, nil
		}
		return identity{}, fmt.Errorf("there is no user %q on this machine", name)
	}}
	var all []string
	for _, p := range i.inspect(f) {
		if missing := strings.Contains(p.Message, "there is no user"); p.Warning == missing {
			t.Errorf("%s: a warning: %v", p, p.Warning)
		}
		all = append(all, strings.ReplaceAll(p.String(), dir, "DIR"))
	}
	return strings.Join(all, "\n")
}

func TestWhatThisMachineLacks(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": `
[app.shop]
command   = "venv/bin/gunicorn shop.wsgi"
listen    = [":8000", "unix:/nowhere/shop.sock"]
directory = "shop"
user      = "www-dat"

[app.blog]
command   = ["bin/blog", "-b", "unix:/nowhere/blog.sock"]
directory = "missing"
user      = "root"

[app.worker]
command   = "bin/worker"
directory = "shop"
user      = "www-data"

[app.beat]
command = "bin/beat"
user    = "www-data"

[app.flower]
command   = "gunicorn -b unix:/nowhere/flower.sock flower"
directory = "tideover.toml"
user      = "www-data"
`, "shop/bin/worker": "", "bin/beat": ""})
	want := `DIR/tideover.toml:4:23: warning: shop: there is no directory /nowhere for the socket
    4 │ listen    = [":8000", "unix:/nowhere/shop.sock"]
      │                       ^^^^^^^^^^^^^^^^^^^^^^^^^
DIR/tideover.toml:6:13: shop: there is no user "www-dat" on this machine
    6 │ user      = "www-dat"
      │             ^^^^^^^^^  create it, or name another user
DIR/tideover.toml:10:13: warning: blog: the directory DIR/missing cannot be entered: no such file or directory
   10 │ directory = "missing"
      │             ^^^^^^^^^
DIR/tideover.toml:11:13: warning: blog: the app runs as root
   11 │ user      = "root"
      │             ^^^^^^  give it a user of its own, such as user = "www-data"
DIR/tideover.toml:14:13: warning: worker: www-data cannot run DIR/shop/bin/worker
   14 │ command   = "bin/worker"
      │             ^^^^^^^^^^^^  it has mode 0600
DIR/tideover.toml:19:11: warning: beat: www-data cannot run DIR/bin/beat
   19 │ command = "bin/beat"
      │           ^^^^^^^^^^  it has mode 0600
DIR/tideover.toml:23:13: warning: flower: there is no directory /nowhere for the socket
   23 │ command   = "gunicorn -b unix:/nowhere/flower.sock flower"
      │             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
DIR/tideover.toml:24:13: warning: flower: DIR/tideover.toml is not a directory
   24 │ directory = "tideover.toml"
      │             ^^^^^^^^^^^^^^^`
	if got := inspectAs(t, 0, dir); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestADirectoryItsUserCannotRead(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": "[app.shop]\ncommand = \"gunicorn shop\"\ndirectory = \"a/current\"\nuser = \"www-data\"\n", "a/releases/1/shop.py": ""})
	if err := os.Symlink("releases/1", filepath.Join(dir, "a/current")); err != nil {
		t.Fatal(err)
	}
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	if got := inspectAs(t, 0, dir); got != "" {
		t.Errorf("readable, and yet: %s", got)
	}
	for path, modes := range map[string][2]os.FileMode{"a": {0o750, 0o711}, "a/releases": {0o700, 0o711}, "a/releases/1": {0o711, 0o755}} {
		chmod(path, modes[0])
		got := inspectAs(t, 0, dir)
		if !strings.Contains(got, "www-data cannot read the directory DIR/a/current") || !strings.Contains(got, fmt.Sprintf("DIR/%s has mode %04o", path, modes[0])) {
			t.Errorf("%s %o: %s", path, modes[0], got)
		}
		chmod(path, modes[1])
	}
	if got := inspectAs(t, 0, dir); got != "" {
		t.Errorf("readable again, and yet: %s", got)
	}
}

func TestRootAndOthers(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": "[app.a]\ncommand = \"sleep 1\"\n[app.b]\ncommand = \"sleep 1\"\nuser = \"www-data\"\n"})
	if got := inspectAs(t, 0, dir); !strings.Contains(got, "a: the app runs as root") || strings.Contains(got, "b:") {
		t.Errorf("root's: %s", got)
	}
	if got := inspectAs(t, 65002, dir); strings.Contains(got, "runs as root") || !strings.Contains(got, "b: only root can run an app as www-data") {
		t.Errorf("a user's: %s", got)
	}
}

func TestSecretsEverybodyCanRead(t *testing.T) {
	text := `
[app.shop]
command  = "celery -b redis://:hunter2@localhost worker"
env_file = [".env", "-none", "private.env"]
user     = "us"

[app.shop.env]
SECRET_KEY = "x"
DATABASE_URL = "postgres://shop:hunter2@db/shop"
DEBUG = "0"
TOKEN_FILE = "/run/secrets/token"
`
	dir := machine(t, map[string]string{"tideover.toml": text, ".env": "DB_PASSWORD=x\nA=1\n", "private.env": "DB_PASSWORD=x\n"})
	if got := inspectAs(t, 0, dir); strings.Contains(got, "everybody") {
		t.Errorf("nobody can read them, and yet: %s", got)
	}
	for _, name := range []string{"tideover.toml", ".env"} {
		os.Chmod(filepath.Join(dir, name), 0o644)
	}
	got := inspectAs(t, 0, dir)
	for _, want := range []string{
		"tideover.toml:3:12: warning: shop: every user of this machine can read the command's password in DIR/tideover.toml",
		"tideover.toml:4:13: warning: shop: every user of this machine can read DB_PASSWORD in DIR/.env",
		"tideover.toml:7:1: warning: shop: every user of this machine can read DATABASE_URL, SECRET_KEY in DIR/tideover.toml",
		"chmod 640 DIR/.env",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "private.env") || strings.Contains(got, "hunter2") {
		t.Errorf("got\n%s", got)
	}
	os.Chmod(dir, 0o700)
	if got := inspectAs(t, 0, dir); strings.Contains(got, "everybody") {
		t.Errorf("nobody gets there, and yet: %s", got)
	}
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name, group string
		uid         uint32
		gid         uint32
		fault       string
	}{
		{name: "root"},
		{name: "0"},
		{name: "root", group: "4242", gid: 4242},
		{name: "4242", group: "4242", uid: 4242, gid: 4242},
		{name: "4242", fault: `there is no user "4242"`},
		{name: "nobody-at-all", fault: `there is no user "nobody-at-all"`},
		{name: "root", group: "none-at-all", fault: `there is no group "none-at-all"`},
	} {
		who, err := lookupUser(c.name, c.group)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s:%s: %v", c.name, c.group, err)
			}
			continue
		}
		if err != nil || who.uid != c.uid || !slices.Contains(who.gids, c.gid) {
			t.Errorf("%s:%s: %+v, %v", c.name, c.group, who, err)
		}
	}
	if who, err := lookupUser("", ""); err != nil || int(who.uid) != os.Geteuid() {
		t.Errorf("we are %+v, %v", who, err)
	}
}

func TestModesAsTheKernelReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	os.WriteFile(path, nil, 0o600)
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	owner, member, other := identity{uid: uid}, identity{uid: uid + 70000, gids: []uint32{gid}}, identity{uid: uid + 70000}
	for _, c := range []struct {
		mode  os.FileMode
		who   identity
		want  os.FileMode
		allow bool
	}{
		{0o040, member, read, true}, {0o004, member, read, false}, {0o004, other, read, true}, {0o040, other, read, false},
		{0o005, other, read | execute, true}, {0o001, other, read | execute, false}, {0o000, identity{}, read, true},
		{0o400, owner, read, true},
	} {
		os.Chmod(path, c.mode)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.who.canAccess(info, c.want); got != c.allow {
			t.Errorf("mode %04o, uid %d, gids %v: %v", c.mode, c.who.uid, c.who.gids, got)
		}
	}
}
