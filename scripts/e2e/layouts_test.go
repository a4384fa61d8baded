//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// layout is a usual arrangement of an app's files and its log on a server.
type layout struct {
	name string
	// prepare makes the directories, and returns the directory of the app and its log
	// file as the configuration has them.
	prepare func(a *attack) (directory, log string)
	deploys bool   // a release is a directory, and current a symlink to it
	group   string // of the app; empty: www-data
}

// systemGroup is the group that owns /var/log of Ubuntu: a group of the system, of
// which the app's user is no member.
const systemGroup = 4

func layouts() []layout {
	varLog := func(a *attack, group int, mode os.FileMode) string {
		dir := a.env.Path("var-log")
		a.mkdir(dir, 0, mode)
		a.must(os.Chown(dir, 0, group))
		a.must(os.Chmod(dir, mode))
		return dir
	}
	return []layout{
		{name: "capistrano", deploys: true, prepare: capistrano},
		{name: "ubuntu", prepare: func(a *attack) (string, string) {
			return a.srv, filepath.Join(varLog(a, systemGroup, 0o775), "shop.log")
		}},
		{name: "ubuntu-with-a-directory-of-the-app", prepare: func(a *attack) (string, string) {
			dir := filepath.Join(varLog(a, systemGroup, 0o775), "shop")
			a.mkdir(dir, appUser, 0o750)
			return a.srv, filepath.Join(dir, "shop.log")
		}},
		{name: "ubuntu-with-a-directory-of-root", prepare: func(a *attack) (string, string) {
			dir := filepath.Join(varLog(a, systemGroup, 0o775), "tideover")
			a.mkdir(dir, 0, 0o755)
			return a.srv, filepath.Join(dir, "shop.log")
		}},
		{name: "ubuntu-with-an-app-in-the-group", group: fmt.Sprint(systemGroup), prepare: func(a *attack) (string, string) {
			return a.srv, filepath.Join(varLog(a, systemGroup, 0o775), "shop.log")
		}},
		{name: "debian", prepare: func(a *attack) (string, string) {
			dir := filepath.Join(varLog(a, 0, 0o755), "tideover")
			a.mkdir(dir, 0, 0o700)
			return a.srv, filepath.Join(dir, "shop.log")
		}},
		{name: "of-the-app", prepare: func(a *attack) (string, string) {
			a.mkdir(filepath.Join(a.srv, "log"), appUser, 0o755)
			return a.srv, "log/shop.log"
		}},
	}
}

// capistrano is the layout of that tool: releases, a symlink to the current one, and
// what they share. A deploy user owns it; the app's user may write into shared/log.
func capistrano(a *attack) (directory, log string) {
	a.must(os.Chown(a.srv, localUser, localUser))
	for _, dir := range []string{"releases", "releases/1", "releases/2", "shared"} {
		a.mkdir(filepath.Join(a.srv, dir), localUser, 0o755)
	}
	a.mkdir(filepath.Join(a.srv, "shared", "log"), localUser, 0o775)
	a.must(os.Chown(filepath.Join(a.srv, "shared", "log"), localUser, appUser))
	env := filepath.Join(a.srv, "shared", ".env")
	a.write(env, localUser, 0o640, "KEY=shared\n")
	a.must(os.Chown(env, localUser, appUser))
	for release := range 2 {
		dir := filepath.Join(a.srv, "releases", fmt.Sprint(release+1))
		a.write(filepath.Join(dir, "release"), localUser, 0o644, fmt.Sprint(release+1))
		a.must(os.Symlink("../../shared/.env", filepath.Join(dir, ".env")))
		a.must(os.Symlink("../../shared/log", filepath.Join(dir, "log")))
	}
	a.must(os.Symlink("releases/1", filepath.Join(a.srv, "current")))
	return filepath.Join(a.srv, "current"), "log/shop.log"
}

// In the layouts that servers have, the output of an app arrives in its log, which is
// rotated, the env file and the page are read, and a reload finds the new release.
func TestLayoutsOfServersWork(t *testing.T) {
	t.Parallel()
	for _, l := range layouts() {
		t.Run(l.name, func(t *testing.T) {
			a := newAttack(begin(t))
			directory, log := l.prepare(a)
			if !l.deploys {
				a.write(filepath.Join(a.srv, ".env"), appUser, 0o600, "KEY=shared\n")
				a.write(filepath.Join(a.srv, "release"), appUser, 0o644, "1")
			}
			address := a.unusedAddress()
			a.start(`
[app.shop]
command = "{program} web fd={fd}"
directory = "`+directory+`"
listen = "`+address+`"
user = "www-data"
group = "`+cmp.Or(l.group, "www-data")+`"
env_file = ".env"
log.file = "`+log+`"
log.max_size = "4KiB"
log.backups = 3
`, "shop")
			if !filepath.IsAbs(log) {
				log = filepath.Join(directory, log)
			}
			a.checkRelease(address, "1")
			a.waitForLog(address, log)
			if l.deploys {
				a.must(a.as(localUser, func() error { return replaceByLink("releases/2", directory) }))
			} else {
				a.must(a.as(appUser, func() error { return os.WriteFile(filepath.Join(a.srv, "release"), []byte("2"), 0o644) }))
			}
			a.wants(0, 30*time.Second, "reload", "shop")
			a.checkRelease(address, "2")
			before := a.readLog(log)
			a.waitForLog(address, log)
			a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
				if a.readLog(log) == before {
					return errors.New("after the reload nothing is written to the log")
				}
				return nil
			}))
			a.checkRootUntouched()
		})
	}
}

// readLog reads the current log file, which is not there for an instant while it is rotated.
func (a *attack) readLog(log string) (text string) {
	a.Helper()
	a.must(testenv.Poll(a.timeout(5*time.Second), 20*time.Millisecond, func() error {
		all, err := os.ReadFile(log)
		text = string(all)
		return err
	}))
	return text
}

// checkRelease fails the row unless the release answers, with its env file.
func (a *attack) checkRelease(address, release string) {
	a.Helper()
	if _, text := a.get(address, "/release"); text != release {
		a.Errorf("release %q answers, not %s", text, release)
	}
	if _, text := a.get(address, "/env"); !strings.Contains(text, "KEY=shared\n") {
		a.Errorf("the env file was not read: %s", text)
	}
}

// waitForLog sends requests until the log has been rotated twice: the app prints a
// line for each.
func (a *attack) waitForLog(address, log string) {
	a.Helper()
	for range 80 {
		a.get(address, "/")
	}
	a.must(testenv.Poll(a.timeout(5*time.Second), 20*time.Millisecond, func() error {
		newest, err := os.ReadFile(log + ".1")
		if err == nil && !strings.Contains(string(newest), "request ") {
			err = errors.New("it has no line of the app")
		}
		if _, missing := os.Stat(log + ".2.gz"); err == nil {
			err = missing
		}
		return err
	}))
}
