package daemon

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"tideover/supervisor"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func startupViewOf(out *bytes.Buffer, apps ...*config.App) *startupView {
	d := &daemon{Options: Options{Version: "1.2.3", Stdout: term.Screen{Out: out, Terminal: true, Width: 80}, Config: &config.File{Path: "/etc/tideover/tideover.toml", Apps: apps}}}
	if len(apps) == 1 {
		d.App = apps[0].Name
	}
	return newStartupView(d, out)
}

func TestStartupView(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := startupViewOf(&out, &config.App{Name: "shop", Listen: []string{":8000"}, ListenFrom: "command line"})
	v.printHead(nil)
	starting := api.AppStatus{Name: "shop", State: api.Starting}
	if v.update([]api.AppStatus{starting}, 0) {
		t.Error("over before there is a process")
	}
	starting.Pid = 4711
	for range 3 { // however often it looks, it says it once
		v.update([]api.AppStatus{starting}, time.Second)
	}
	if !v.update([]api.AppStatus{{Name: "shop", State: api.Running, Generation: 1, Pid: 4711, Listen: []string{":8000"}}}, 1400*time.Millisecond) {
		t.Error("not over although it answers")
	}
	want := `tideover 1.2.3  app shop

  ✓ listening   http://localhost:8000   on all interfaces   the command's own address, taken over
  ✓ started     pid 4711
  ✓ answering   generation 1, pid 4711, after 1.4 s

  reload   tideover reload   or   kill -HUP `
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("%s\nwant:\n%s", out.String(), want)
	}
}

func TestStartupViewOfAnAppThatDoesNotComeUp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := startupViewOf(&out, &config.App{Name: "shop"}, &config.App{Name: "mail"})
	over := v.update([]api.AppStatus{
		{Name: "shop", State: api.Backoff, Reason: "it ended with exit status 3 \x07", Next: 2, Listen: []string{":80"}},
		{Name: "mail", State: api.Starting, Pid: 1},
	}, time.Second)
	if over {
		t.Error("over although mail is still starting")
	}
	over = v.update([]api.AppStatus{{Name: "shop", State: api.Backoff}, {Name: "mail", State: api.Stopped}}, time.Second)
	if !over {
		t.Error("not over")
	}
	for _, want := range []string{
		"  ✗ shop         backoff it ended with exit status 3 \\x07\n    requests are held meanwhile; the next try is in 2 s\n",
		"  ✓ mail         started pid 1\n",
		"  ✓ mail         stopped tideover start mail starts it\n",
		"tideover reload --all",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestStartupViewSpeaksOfProcessesWhereThereAreNoRequests(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := startupViewOf(&out, &config.App{Name: "beat"}, &config.App{Name: "jobs"}, &config.App{Name: "shop"})
	v.update([]api.AppStatus{
		{Name: "beat", State: api.Running, Generation: 1, Pid: 7},
		{Name: "jobs", State: api.Failed, Reason: "it ended", Next: 60},
		{Name: "shop", State: api.Failed, Reason: "it ended", Next: 60, Listen: []string{":80"}},
	}, time.Second)
	for _, want := range []string{
		"  ✓ beat         running generation 1, pid 7, after 1 s\n",
		"  ✗ jobs         failed it ended\n    the next try is in 1 min\n",
		"  ✗ shop         failed it ended\n    requests get 503 meanwhile; the next try is in 1 min\n",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestBrowsable(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		":8000": "http://localhost:8000   on all interfaces", "127.0.0.1:8000": "http://127.0.0.1:8000", "[::]:80": "http://localhost:80   on all interfaces",
		"unix:/run/shop.sock": "unix:/run/shop.sock", "systemd:shop": "systemd:shop",
	} {
		if got := browsable(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// Ctrl-C on the screen ends with a plain line that says what was lost.
func TestTheLastLineSaysWhatWasLost(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := &startupView{output: &out}
	v.printStopped(supervisor.ShutdownCounts{}, nil)
	v.printStopped(supervisor.ShutdownCounts{Lost: 2, Refused: 3}, nil)
	v.printStopped(supervisor.ShutdownCounts{}, errors.New("shop has failed")) // printed by the caller
	if got, want := out.String(), "stopped, 0 lost\nstopped, 2 lost, 3 new ones refused (503)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The address that gunicorn has reported is shown, not the one that was guessed before.
func TestStartupViewShowsWhereGunicornListens(t *testing.T) {
	t.Parallel()
	for reported, want := range map[string]string{
		"127.0.0.1:9001": "http://127.0.0.1:9001   from gunicorn's settings, taken over\n",
		"127.0.0.1:8000": "http://127.0.0.1:8000   gunicorn's default, taken over\n",
	} {
		app, err := config.FromCommand(config.CommandOptions{Name: "shop", Command: []string{"gunicorn", "shop:app"}, Directory: "/srv/shop"})
		if err != nil || !app.QueryGunicorn {
			t.Fatal(app, err)
		}
		var out bytes.Buffer
		v := startupViewOf(&out, app)
		v.printHead([]api.AppStatus{{Name: "shop", Listen: []string{reported}}})
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s:\n%s", reported, out.String())
		}
	}
}

// The source of an address names the program that really runs.
func TestTheStartupViewSaysWhereAnAddressComesFrom(t *testing.T) {
	t.Parallel()
	app := func(words ...string) *config.App {
		a, err := config.FromCommand(config.CommandOptions{Command: words, Directory: "/srv/shop", Environ: []string{"UVICORN_HOST=0.0.0.0"}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		app  *config.App
		want string
	}{
		{app("gunicorn", "shop:app"), "http://127.0.0.1:8000   gunicorn's default, taken over\n"},
		{app("flask", "run"), "http://127.0.0.1:5000   the default of flask run, taken over\n"},
		{app("uvicorn", "--port", "81", "a:b"), "http://localhost:81   on all interfaces   the command's own address, taken over\n"},
		{app("uvicorn", "a:b"), "http://localhost:8000   on all interfaces   from $UVICORN_HOST\n"},
		{app("./start.sh"), "http://127.0.0.1:8000   the default\n"},
	} {
		var out bytes.Buffer
		startupViewOf(&out, c.app).printHead(nil)
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: want %s", out.String(), c.want)
		}
	}
	var out bytes.Buffer
	shop := app("gunicorn", "shop:app")
	startupViewOf(&out, shop).printHead([]api.AppStatus{{Name: shop.Name, Listen: []string{"systemd:web (unix:/run/shop.sock)"}}})
	if !strings.Contains(out.String(), "listening   systemd:web (unix:/run/shop.sock)\n") {
		t.Errorf("%s", out.String())
	}
}
