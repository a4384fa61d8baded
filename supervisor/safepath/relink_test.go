package safepath

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// leadsTo demands that a symlink has a text and an owner, and that nothing is beside it but what was
// there.
func (p *place) leadsTo(path, text string, uid uint32, entries int) {
	p.Helper()
	got, err := os.Readlink(path)
	if err != nil || got != text {
		p.Errorf("%s leads to %q, %v; want %q", path, got, err, text)
	}
	if owner, err := ownerOfLink(path); err != nil || owner != uid {
		p.Errorf("%s belongs to %d, %v; want %d", path, owner, err, uid)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != entries {
		p.Errorf("%v, %v in %s; want %d", names, err, filepath.Dir(path), entries)
	}
}

func ownerOfLink(path string) (uint32, error) {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := statOf(f)
	return st.Uid, err
}

func TestASymlinkIsReplacedAsItsOwner(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		name       string
		dir, uid   int    // owners of the directory and of the symlink
		mode       uint32 // of the directory
		owner      uint32 // of the new symlink
		impossible string
	}{
		{name: "root's", mode: 0o755},
		{name: "a user's, which only root can change", uid: 1000, mode: 0o755, owner: 1000},
		{name: "the app's", dir: 33, uid: 33, mode: 0o755, owner: 33},
		{name: "a third user's", dir: 1000, uid: 1000, mode: 0o755, owner: 1000},
		{name: "root's in the app's directory", dir: 33, mode: 0o755, owner: 33},
		{name: "an unknown user's", dir: 4_000_000, uid: 4_000_000, mode: 0o755, owner: 4_000_000},
		{name: "a user's in a directory of all", uid: 1000, mode: 0o777, owner: 1000},
		{name: "root's in a directory of all", mode: 0o777, impossible: "others can change"},
		{name: "a user's in another user's directory", dir: 33, uid: 1000, mode: 0o755, impossible: "permission denied (as "},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &place{T: t, root: p.root}
			dir := p.mkdir(filepath.Join(p.root, strings.ReplaceAll(c.name, " ", "-")), c.dir, os.FileMode(c.mode))
			link := p.symlink("releases/2", filepath.Join(dir, "current"), c.uid)
			err := Relink(link, "releases/2", "releases/1")
			if c.impossible != "" {
				if err == nil || !strings.Contains(err.Error(), c.impossible) {
					t.Errorf("%v", err)
				}
				p.leadsTo(link, "releases/2", uint32(c.uid), 1)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p.leadsTo(link, "releases/1", c.owner, 1)

			if err := Relink(link, "releases/2", "releases/3"); !errors.Is(err, ErrMoved) {
				t.Errorf("a symlink with another text: %v", err)
			}
			p.leadsTo(link, "releases/1", c.owner, 1)
		})
	}
}

func TestOnlyASymlinkIsReplaced(t *testing.T) {
	p := newPlace(t)
	for _, dir := range []string{p.root, p.app} {
		file := p.file(filepath.Join(dir, "file"), "text", 33, 0o644)
		if err := Relink(file, "text", "elsewhere"); err == nil {
			t.Errorf("%s was replaced", file)
		}
		if text, _ := os.ReadFile(file); string(text) != "text" {
			t.Errorf("%s has %q", file, text)
		}
		if err := Relink(filepath.Join(dir, "missing"), "a", "b"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
	}
}

// The app's user exchanges a directory with a symlink to one of another user's, in which there is a
// symlink of the same name and text.
func TestNoSymlinkIsFollowedToTheOneThatIsReplaced(t *testing.T) {
	p := newPlace(t)
	theirs := p.mkdir(filepath.Join(p.root, "theirs"), int(otherUser.UID), 0o755)
	victim := p.symlink("releases/2", filepath.Join(theirs, "current"), int(otherUser.UID))
	private := p.symlink("releases/2", filepath.Join(p.private, "current"), 0)
	for i, target := range []string{theirs, p.private} {
		site := p.mkdir(filepath.Join(p.app, "site"+strconv.Itoa(i)), 33, 0o755)
		own := p.symlink("releases/2", filepath.Join(site, "current"), 33)
		trap := p.symlink(target, filepath.Join(p.app, "trap"+strconv.Itoa(i)), 33)
		whileSwapping(t, appUser, site, trap, func() {
			if Relink(own, "releases/2", "releases/1") == nil {
				_ = Relink(own, "releases/1", "releases/2")
			}
		})
	}
	p.leadsTo(victim, "releases/2", otherUser.UID, 1)
	p.leadsTo(private, "releases/2", 0, 2)
}

func TestAProcessThatIsNotRootReplacesWhatItMay(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink("2", link); err != nil {
		t.Fatal(err)
	}
	if err := relinkAsSelf(link, "2", "1"); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.Readlink(link); text != "1" {
		t.Errorf("it leads to %s", text)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "way")); err != nil {
		t.Fatal(err)
	}
	if err := relinkAsSelf(filepath.Join(dir, "way/current"), "1", "2"); err == nil {
		t.Error("a symlink on the way was followed")
	}
}
