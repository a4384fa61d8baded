//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"tideover/scripts/testenv"
)

// releases are directories of one app behind a symlink. Where the row is root they belong to another
// user, so that root does not change the symlink by itself.
type releases struct {
	*fixture
	root    string
	current string // the symlink
}

// deploy makes a release and has the symlink lead to it. The test app is shared, and so are its logs.
func (d *releases) deploy(r testenv.Release) error {
	dir := filepath.Join(d.root, "releases", fmt.Sprint(r.Number))
	errs := []error{os.MkdirAll(dir, 0o755)}
	for _, name := range []string{"shop.py", "shop_asgi.py", "requests.log", "masters"} {
		err := os.Symlink(filepath.Join("../../../shop", name), filepath.Join(dir, name))
		if !errors.Is(err, os.ErrExist) {
			errs = append(errs, err)
		}
	}
	fresh := d.current + ".new"
	errs = append(errs, os.WriteFile(filepath.Join(dir, "release"), []byte(r.String()), 0o644), os.Symlink(filepath.Join("releases", fmt.Sprint(r.Number)), fresh))
	if os.Geteuid() == 0 {
		for _, path := range []string{d.root, filepath.Dir(dir), dir, fresh} {
			errs = append(errs, os.Lchown(path, appUser, appUser))
		}
	}
	return errors.Join(append(errs, os.Rename(fresh, d.current))...)
}

// serves fails the row unless this release answers, and the symlink leads to that one.
func (d *releases) serves(serving, linked int) {
	d.Helper()
	if err := d.isRelease(serving); err != nil {
		d.Error(err)
	}
	if to, err := os.Readlink(d.current); err != nil || to != fmt.Sprintf("releases/%d", linked) {
		d.Errorf("%s leads to %s, %v; want release %d", d.current, to, err, linked)
	}
	var link syscall.Stat_t
	if err := syscall.Lstat(d.current, &link); err != nil || os.Geteuid() == 0 && link.Uid != appUser {
		d.Errorf("%s belongs to user %d, %v", d.current, link.Uid, err)
	}
}

// operate runs a verb under load and demands its exit code.
func (d *releases) operate(verb string, exit int) {
	d.Helper()
	d.event(verb, func() {
		result, outcome, err := d.daemon.Operate(d.timeout(operationTimeout), verb)
		d.must(err)
		if outcome.Exit != exit || result.Exit != exit {
			d.Errorf("%s: want exit %d: %v", verb, exit, outcome)
		}
	})
}

// A release is taken back under load: by one that works, by one that does not, after a deploy that has
// failed, and forward again. No request is lost, and the symlink leads to what serves.
func TestRollback(t *testing.T) {
	for mode, failed := range map[string]int{"overlap": 7, "replace": 8} {
		t.Run(mode, func(t *testing.T) {
			r := begin(t)
			d := &releases{root: r.env.Path("site"), current: r.env.Path("site", "current")}
			config := fmt.Sprintf("reload = %q\nhold = { timeout = \"60s\", limit = 4000 }\n", mode)
			first := testenv.Release{Number: 1, Import: 0.5}
			r.must(d.deploy(first))
			d.fixture = newFixture(r, setup{release: first, config: config, directory: d.current})
			d.startLoad(60)
			second := testenv.Release{Number: 2, Import: 0.5}
			r.must(d.deploy(second))
			d.operate("reload", 0)
			d.serves(2, 2)
			d.operate("rollback", 0)
			d.serves(1, 1)
			d.operate("rollback", 0)
			d.serves(2, 2)

			first.Fault = "raise"
			r.must(os.WriteFile(filepath.Join(d.root, "releases/1/release"), []byte(first.String()), 0o644))
			d.waitWorkers()
			d.operate("rollback", failed)
			d.waitRelease(operationTimeout, 2) // reload = "replace": clients wait for it
			d.serves(2, 2)

			if mode == "overlap" {
				third := testenv.Release{Number: 3, Fault: "raise"}
				r.must(d.deploy(third))
				d.operate("reload", 7)
				d.serves(2, 3)
				d.operate("rollback", 0)
				d.serves(2, 2)
			}
			d.finish()
			d.shutdown()
		})
	}
}
