package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAChangedFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const main, shop = "include = [\"*.app.toml\"]\n", "[app.shop]\ncommand = \"sleep 1\"\n"
	for name, change := range map[string]struct {
		do   func()
		want string
	}{
		"nothing":                     {func() {}, ""},
		"touched":                     {func() { os.Chtimes(path("main.toml"), time.Time{}, time.Now().Add(time.Hour)) }, ""},
		"written anew, the same text": {func() { os.Remove(path("shop.app.toml")); write("shop.app.toml", shop) }, ""},
		"the main file":               {func() { write("main.toml", main+"# more\n") }, "main.toml"},
		"an included one":             {func() { write("shop.app.toml", shop+"umask = \"022\"\n") }, "shop.app.toml"},
		"one is removed":              {func() { os.Remove(path("shop.app.toml")) }, "shop.app.toml"},
		"one is new":                  {func() { write("blog.app.toml", "[app.blog]\ncommand = \"sleep 1\"\n") }, "blog.app.toml"},
		"a broken one":                {func() { write("main.toml", main+"nonsense\n") }, "main.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(path("blog.app.toml"))
			write("main.toml", main)
			write("shop.app.toml", shop)
			file, err := Load(path("main.toml"))
			if err != nil {
				t.Fatal(err)
			}
			change.do()
			want := change.want
			if want != "" {
				want = path(want)
			}
			if got := file.ChangedFile(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
