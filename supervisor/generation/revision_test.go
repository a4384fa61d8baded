package generation

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

const (
	commitA = "0123456789abcdef0123456789abcdef01234567"
	commitB = "89abcdef0123456789abcdef0123456789abcdef"
)

// tree makes files, by their path, in a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheCommitIsThatOfTheWorkTree(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"a branch":         {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": commitA + "\n"},
		"a packed branch":  {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": "# pack-refs with: peeled\n" + commitB + " refs/heads/other\n" + commitA + " refs/heads/main\n^" + commitB + "\n"},
		"a newer commit":   {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": commitA + "\n", ".git/packed-refs": commitB + " refs/heads/main\n"},
		"no branch":        {".git/HEAD": commitA + "\n"},
		"a submodule":      {".git": "gitdir: ../super/module\n", "../super/module/HEAD": commitA + "\n"},
		"a linked tree":    {".git": "gitdir: $DIR/main/worktrees/w\n", "main/worktrees/w/HEAD": "ref: refs/heads/x\n", "main/worktrees/w/commondir": "../..\n", "main/refs/heads/x": commitA + "\n"},
		"a tree and a ref": {".git/HEAD": "ref: refs/heads/feature/x\n", ".git/refs/heads/feature/x": commitA},
	} {
		dir := tree(t, files)
		if commit, err := (revisionFiles{dir: dir}).commit(false); err != nil || commit != commitA[:12] {
			t.Errorf("%s: %q, %v", name, commit, err)
		}
	}
}

func TestNoCommitIsNamedWhereGitNamesNone(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no repository":                {"app.py": ""},
		"a branch without a commit":    {".git/HEAD": "ref: refs/heads/main\n"},
		"a ref outside the repository": {".git/HEAD": "ref: refs/../../secret\n", "secret": commitA},
		"an absolute ref":              {".git/HEAD": "ref: $DIR/secret\n", "secret": commitA},
		"a ref that is text":           {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": "root:x:0:0\n"},
		"a HEAD that is text":          {".git/HEAD": "root:x:0:0\n"},
	} {
		if commit, err := (revisionFiles{dir: tree(t, files)}).commit(false); err == nil {
			t.Errorf("%s: %q", name, commit)
		}
	}
}

func TestAutomaticallyTheBestEvidenceCounts(t *testing.T) {
	root := tree(t, map[string]string{
		".git/HEAD": commitB, "src/app.py": "",
		"releases/42/app.py": "", "releases/git/.git/HEAD": commitA, "releases/capistrano/REVISION": commitA + "\n",
		"releases/tagged/REVISION": "v1.4.2\nbuilt today\n", "releases/bad/REVISION": "$(reboot)\n", "releases/two words/app.py": "",
	})
	for _, c := range []struct {
		dir    string
		linked bool
		want   string
	}{
		{"src", false, commitB[:12]},
		{"", false, commitB[:12]},
		{"releases/42", true, "42"},
		{"releases/git", true, commitA[:12]},
		{"releases/capistrano", true, commitA[:12]},
		{"releases/tagged", true, "v1.4.2"},
		{"releases/bad", true, "bad"},
		{"releases/two words", true, ""},
	} {
		if got := (revisionFiles{dir: filepath.Join(root, c.dir)}).automatic(c.linked); got != c.want {
			t.Errorf("%s: %q, want %q", c.dir, got, c.want)
		}
	}
}

func TestAFifoInTheRepositoryDelaysNoStart(t *testing.T) {
	dir := tree(t, map[string]string{".git/config": ""})
	if err := syscall.Mkfifo(filepath.Join(dir, ".git/HEAD"), 0o644); err != nil {
		t.Fatal(err)
	}
	if commit, err := (revisionFiles{dir: dir}).commit(false); err == nil {
		t.Errorf("%q", commit)
	}
}

// As root: the app's user can make its HEAD a symlink to a file that only root can read.
func TestRootReadsNoRepositoryOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: tideover reads with the rights of the app in any case")
		return
	}
	const uid = 65_000
	secret := tree(t, map[string]string{"commit": commitA})
	if err := os.Chmod(filepath.Join(secret, "commit"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "revision")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	git := filepath.Join(dir, ".git")
	for _, err := range []error{os.Mkdir(git, 0o755), os.Symlink(filepath.Join(secret, "commit"), filepath.Join(git, "HEAD")),
		os.Chown(dir, uid, uid), os.Chown(git, uid, uid), os.Chmod(dir, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files := revisionFiles{open: safepath.Opener{User: &process.User{UID: uid, GID: uid}}, dir: dir}
	if commit, err := files.commit(false); err == nil {
		t.Errorf("root has read %s", commit)
	}
	if err := os.Remove(filepath.Join(git, "HEAD")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(git, "HEAD"), []byte(commitB), 0o644); err != nil {
		t.Fatal(err)
	}
	if commit, err := files.commit(false); err != nil || commit != commitB[:12] {
		t.Errorf("what this user can read: %q, %v", commit, err)
	}
}
