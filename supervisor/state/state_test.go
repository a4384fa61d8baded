package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, damaged, err := Open(dir, "shop", nil, hclog.NewNullLogger())
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// file is the text of a state file with a right checksum.
func file(state string) []byte {
	return fmt.Appendf(nil, `{"crc32": %d, "state": %s}`, crc32.ChecksumIEEE([]byte(state)), state)
}

// use calls every method that changes something.
func use(s *Store) error {
	_, err := s.NextNumber("shop")
	return errors.Join(err, s.SetTree("shop", 1, process.Record{Token: "a"}), s.SetHook(process.Record{Token: "b"}), s.SetStopped("shop", true),
		s.RemoveHook("b"), s.RemoveTree("shop", 1), s.RemoveTree("other", 1), s.ForgetStale(), s.SetStopped("shop", false))
}

func TestAStateFileWithoutItsMapsIsReadAsEmpty(t *testing.T) {
	for _, state := range []string{
		`{"version": 1}`,
		`{"version": 1, "trees": null, "hooks": null, "last": null, "stopped": null}`,
		`{"version": 1, "trees": {"shop": null}, "hooks": {"b": null}, "last": {"shop": null}, "stopped": {"shop": null}}`,
		`{"version": 1, "trees": {"shop": {"1": null}}, "unknown": null}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "shop.json"), file(state), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := use(open(t, dir)); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// A state that could not be written, as on a full disk, is written once that is possible: also
// when nothing changes any more.
func TestAStateThatCouldNotBeSavedIsSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		s := open(t, dir)
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetTree("shop", 7, process.Record{Token: "a"}); err == nil {
			t.Fatal("no error without the directory")
		}
		if err := s.SetStopped("shop", true); err == nil {
			t.Fatal("no error without the directory")
		}
		sleep := func() {
			time.Sleep(2 * retryInterval)
			synctest.Wait()
		}
		sleep()
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		sleep()
		text, err := os.ReadFile(filepath.Join(dir, "shop.json"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := decode(text)
		if err != nil || c.Trees["shop"][7].Token != "a" || !c.Stopped["shop"] {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

func TestTheLastStateIsSavedWhenTheStoreIsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetTree("shop", 7, process.Record{Token: "a"}); err == nil {
		t.Fatal("no error without the directory")
	}
	if err := errors.Join(os.Rename(dir+".away", dir), s.Close()); err != nil {
		t.Fatal(err)
	}
	if trees := open(t, dir).StaleTrees(); len(trees) != 1 || trees[0].Token != "a" {
		t.Errorf("%+v", trees)
	}
}

// The prefix stays the same over a restart of the daemon, and no other daemon has it.
func TestTreePrefixIsThatOfOneStore(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	prefix := first.TreePrefix()
	first.Close()
	if again := open(t, dir).TreePrefix(); again != prefix || !strings.HasSuffix(prefix, ".") {
		t.Errorf("%q, then %q", prefix, again)
	}
	other, _, err := Open(dir, "other", nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if elsewhere := open(t, t.TempDir()).TreePrefix(); elsewhere == prefix || other.TreePrefix() == prefix {
		t.Error("two stores have the same prefix")
	}
}

// FuzzStateFile: no content of the file, with a right checksum or not, ends the daemon.
func FuzzStateFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"trees":{"shop":{"1":{"pid":4,"token":"x"}}},"hooks":{"t":{}},"last":{"shop":9223372036854775807},"stopped":{"shop":true}}`), true)
	f.Add([]byte(`{"version":1,"trees":{"shop":null},"hooks":null}`), true)
	f.Add([]byte(`{"crc32":0,"state":null}`), false)
	f.Add([]byte(``), false)
	f.Fuzz(func(t *testing.T, text []byte, sum bool) {
		if sum {
			if !json.Valid(text) {
				t.Skip()
			}
			text = file(string(text))
		}
		content, err := decode(text)
		if err != nil {
			return
		}
		s := &Store{path: filepath.Join(t.TempDir(), "shop.json"), logger: hclog.NewNullLogger(), adopted: map[string]bool{}, content: content}
		s.StaleTrees()
		s.IsKnown("x")
		if err := use(s); err != nil {
			t.Fatal(err)
		}
		text, err = os.ReadFile(s.path)
		if err == nil {
			_, err = decode(text)
		}
		if err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}

// A supervisor that has died has left its lock to the monitor: the next one goes on with it, and no other
// daemon gets it meanwhile. Its end frees it, although the monitor lives.
func TestALockOutlivesItsSupervisor(t *testing.T) {
	dir := t.TempDir()
	first, _, err := Open(dir, "shop", nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	duplicate := func() *os.File {
		t.Helper()
		fd, err := unix.FcntlInt(first.Lock().Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "received")
	}
	monitor, kept := duplicate(), duplicate()
	defer monitor.Close()
	first.lock.Close() // it dies
	if _, _, err := Open(dir, "shop", nil, hclog.NewNullLogger()); err == nil {
		t.Fatal("another daemon has the lock")
	}
	next, _, err := Open(dir, "shop", kept, hclog.NewNullLogger())
	if err != nil || next.TreePrefix() != first.TreePrefix() {
		t.Fatal(err)
	}
	next.Close()
	last, _, err := Open(dir, "shop", nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	last.Close()
}
