package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// loaded is the configuration written as text.
func loaded(t *testing.T, text string) *File {
	t.Helper()
	f, _ := load(t, map[string]string{"tideover.toml": text})
	return f
}

func TestInstancesAreAppsOfTheirOwn(t *testing.T) {
	f := loaded(t, `[app.celery]
command = "celery worker -n w{instance}"
env = { N = "{instance}", PLAIN = "x" }
instances = 2
labels = ["jobs"]
log.file = "/var/log/celery.log"
[app.beat]
command = "celery beat"`)
	var names, commands, files []string
	for _, a := range f.Apps {
		for _, one := range a.Each() {
			names = append(names, one.Name)
			commands = append(commands, strings.Join(one.Command, " ")+" "+one.Env["N"])
			files = append(files, one.Log.File)
		}
	}
	if want := []string{"celery:1", "celery:2", "beat"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	if want := []string{"celery worker -n w1 1", "celery worker -n w2 2", "celery beat "}; !slices.Equal(commands, want) {
		t.Errorf("commands %q, want %q", commands, want)
	}
	if want := []string{"/var/log/celery-1.log", "/var/log/celery-2.log", ""}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	two := f.Apps[0].Each()[1]
	for selector, want := range map[string]bool{"celery:2": true, "celery": true, "jobs": true, "all": true, "celery:1": false, "beat": false, "cel": false} {
		if two.Matches(selector) != want {
			t.Errorf("celery:2 answers %q: %v", selector, !want)
		}
	}
}

func TestDifferencesReadAsTheyAreWritten(t *testing.T) {
	before := loaded(t, `[app.shop]
command = "gunicorn -b :8000 a:b"
hold.timeout = "20s"
env = { KEPT = "1", SECRET = "old", GONE = "1" }`)
	after := loaded(t, `[app.shop]
command = "gunicorn -b :8000 -w 3 a:b"
hold.timeout = "90s"
nice = 5
umask = "027"
log.max_size = "1MiB"
labels = ["web"]
env = { KEPT = "1", SECRET = "new", CAME = "1" }`)
	var told []string
	all := Differences(before.Apps[0], after.Apps[0])
	for _, d := range all {
		b, a := d.Texts()
		told = append(told, d.Key.Path+": "+b+" -> "+a)
	}
	want := []string{
		`command: ["gunicorn", "-b", ":8000", "a:b"] -> ["gunicorn", "-b", ":8000", "-w", "3", "a:b"]`,
		`umask:  -> "027"`,
		`env:  -> CAME added, SECRET changed, GONE removed`,
		`labels:  -> ["web"]`,
		`nice:  -> 5`,
		`hold.timeout: "20s" -> "1m30s"`,
		`log.max_size: "100MiB" -> "1MiB"`,
	}
	// directory is where each file lies
	told = slices.DeleteFunc(told, func(s string) bool { return strings.HasPrefix(s, "directory: ") })
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if Strongest(all) != Next {
		t.Errorf("takes %s", Strongest(all))
	}
}

// Every key of the tables has a value that can be told.
func TestEveryKeyCanBeSpelt(t *testing.T) {
	a := newApp("shop")
	for _, k := range appKeys() {
		if k.Path == "env" || k.Default == "" {
			continue
		}
		value := reflect.ValueOf(k.field(a)).Elem().Interface()
		before, _ := Difference{Key: k, Before: value}.Texts()
		var read struct{ V any }
		if _, err := toml.Decode("V = "+cmp.Or(before, `""`), &read); err != nil {
			t.Errorf("%s is spelt %s: %v", k.Path, before, err)
			continue
		}
		if err := k.set(newApp("again"), read.V); err != nil && before != "" {
			t.Errorf("%s is spelt %s: %v", k.Path, before, err)
		}
	}
}
