package pathwatch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T) *Watcher {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// await fails unless the path gets a value.
func await(t *testing.T, p *Path, after string) {
	t.Helper()
	select {
	case <-p.Changed:
	case <-time.After(time.Minute):
		t.Fatalf("no event after %s", after)
	}
}

// quiet fails if the path has a value. Events before are handled, because those of another
// path of the same directory come after them.
func quiet(t *testing.T, w *Watcher, p *Path, after string) {
	t.Helper()
	mark := filepath.Join(filepath.Dir(p.path), "mark")
	other := w.Watch(mark)
	defer other.Stop()
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, other, "a mark")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Changed:
		t.Errorf("an event after %s", after)
	default:
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEachChangeOfANameIsAnEvent(t *testing.T) {
	dir := t.TempDir()
	path, w := filepath.Join(dir, "s"), open(t)
	p := w.Watch(path)
	quiet(t, w, p, "the change of another name")
	must(t, os.WriteFile(path, nil, 0o600))
	await(t, p, "its creation")
	must(t, os.Rename(path, path+".old"))
	await(t, p, "a rename")
	must(t, os.Rename(path+".old", path))
	await(t, p, "a rename back")
	must(t, os.Remove(path))
	await(t, p, "its removal")
	p.Stop()
	must(t, os.WriteFile(path, nil, 0o600))
	quiet(t, w, p, "Stop")
}

func TestADirectoryThatIsMadeAgainIsWatchedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	path, w := filepath.Join(dir, "s"), open(t)
	p := w.Watch(path)
	if p.Renew() {
		t.Error("a directory that does not exist is watched")
	}
	must(t, os.Mkdir(dir, 0o700))
	if !p.Renew() {
		t.Fatal("the new directory is not watched")
	}
	must(t, os.WriteFile(path, nil, 0o600))
	await(t, p, "the creation of the file")
	must(t, os.RemoveAll(dir))
	await(t, p, "the removal of the directory")
	must(t, os.Mkdir(dir, 0o700))
	if !p.Renew() {
		t.Fatal("the directory that was made again is not watched")
	}
	for len(p.Changed) > 0 {
		<-p.Changed
	}
	must(t, os.WriteFile(path, nil, 0o600))
	await(t, p, "the creation in the directory that was made again")
}
