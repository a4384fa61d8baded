package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// check says for every path of an app as which user root opens it, and why. A daemon of another user
// opens all with its own rights, and there is nothing to say.
func TestEachPathSaysAsWhichUserItIsOpened(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": "", "srv/x": ""})
	srv := filepath.Join(dir, "srv")
	if os.Geteuid() == 0 {
		must(t, os.Chown(srv, 33, 33))
	}
	text := fmt.Sprintf(`
[app.shop]
command     = "serve {fd}"
directory   = %q
user        = "%d"
group       = "%d"
listen      = ["unix:%s/run/shop.sock", "unix:%s/shop.sock", "127.0.0.1:8000"]
log.file    = "shop.log"
hold.page   = "page.html"
watch.files = ["restart.txt"]
`, srv, users()[0], users()[0], srv, dir)
	write(t, dir+"/tideover.toml", text, 0o600)
	file, err := Load(dir + "/tideover.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range file.PathAccess() {
		got = append(got, fmt.Sprintf("%s %s as %s (%s)", p.Key, strings.TrimPrefix(p.Path, dir), p.As, strings.ReplaceAll(p.Cause, dir, "")))
	}
	slices.Sort(got)
	want := []string{
		"hold.page /srv/page.html as www-data (www-data can change /srv)",
		"listen /shop.sock as root ()", "listen /srv/run/shop.sock as www-data (www-data can change /srv)",
		"log.file /srv/shop.log as www-data (www-data can change /srv)", "watch.files /srv/restart.txt as www-data (www-data can change /srv)",
	}
	if os.Geteuid() != 0 {
		want = nil
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// users are the ids of the app's user and of this process.
func users() []int {
	if os.Geteuid() == 0 {
		return []int{33, 0}
	}
	return []int{os.Geteuid(), os.Geteuid()}
}

// What can never be safe is an error of check: an app of root whose socket others can replace.
func TestAnAppOfRootListensOnNoPathThatOthersCanChange(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": "", "srv/x": ""})
	srv := filepath.Join(dir, "srv")
	if os.Geteuid() == 0 {
		must(t, os.Chown(srv, 33, 33))
	}
	write(t, dir+"/tideover.toml", "[app.shop]\ncommand = \"serve {fd}\"\nuser = \"root\"\nlisten = \"unix:"+srv+"/shop.sock\"\n", 0o600)
	f, err := Load(filepath.Join(dir, "tideover.toml"))
	if err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(f.Inspect(), func(p Problem) bool {
		return !p.Warning && strings.Contains(p.String(), "listen") && strings.Contains(p.Message, "root does not open it")
	})
	if found != (os.Geteuid() == 0) {
		t.Errorf("as uid %d it is refused: %v", os.Geteuid(), found)
	}
}

// Root keeps none of its own files in a directory that others can change: they could lead it to any other.
func TestTheDaemonsOwnFilesAreNowhereThatOthersCanChange(t *testing.T) {
	dir := machine(t, map[string]string{"tideover.toml": "", "srv/x": ""})
	srv := dir + "/srv"
	if os.Geteuid() == 0 {
		must(t, os.Chown(srv, 33, 33))
	}
	keys := []string{"socket", "state_dir", "runtime_dir", "pidfile", "spool_dir", "admin"}
	text := "[daemon]\n"
	for _, key := range keys {
		path := srv + "/" + key
		if key == "admin" {
			path = "unix:" + path
		}
		text += fmt.Sprintf("%s = %q\n", key, path)
	}
	write(t, dir+"/tideover.toml", text+"[app.shop]\ncommand = \"sleep 1\"\n", 0o600)
	f, err := Load(dir + "/tideover.toml")
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, p := range f.Inspect() {
		if !p.Warning && strings.Contains(p.Message, "root does not open it") && p.Line > 1 {
			refused = append(refused, keys[p.Line-2])
		}
	}
	if os.Geteuid() != 0 {
		keys = nil
	}
	slices.Sort(keys)
	slices.Sort(refused)
	if !slices.Equal(refused, keys) {
		t.Errorf("refused: %q, want %q", refused, keys)
	}
}
