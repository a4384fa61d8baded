package config

import (
	"strings"
	"testing"
	"time"
)

func TestFromCommand(t *testing.T) {
	limit := 7
	a, err := FromCommand(CommandOptions{
		Command: []string{"gunicorn", "shop.wsgi"}, Directory: "/srv/shop/current", Environ: []string{"PORT=5000", "SECRET=x"},
		Trusted: []string{"10.0.0.0/8", "unix"}, Ready: "/up", Reload: "replace", ReadyTimeout: time.Second, HoldTimeout: 2 * time.Second, HoldLimit: &limit, StopTimeout: 1500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Name != "shop" || a.Listen[0] != "0.0.0.0:5000" || a.ListenFrom != "PORT" || !a.QueryGunicorn || a.Directory != "/srv/shop/current" {
		t.Errorf("got %+v", a)
	}
	if strings.Join(a.Trusted, " ") != "10.0.0.0/8 unix" {
		t.Errorf("trusts %v", a.Trusted)
	}
	if a.Ready.Path != "/up" || !a.Ready.Explicit || a.Reload != Replace || a.Ready.Timeout != time.Second || a.Hold.Timeout != 2*time.Second || a.Hold.Limit != 7 || a.Stop.Timeout != 1500*time.Millisecond {
		t.Errorf("got %+v", a)
	}
}

func TestWhereACommandListens(t *testing.T) {
	for _, c := range []struct {
		command, port string
		listen        []string
		want, from    string
	}{
		{"gunicorn -b :9 app", "5000", nil, "0.0.0.0:9", "command line"},
		{"gunicorn -b :9 app", "5000", []string{"unix:/run/x", ":1"}, "unix:/run/x :1", "listen"},
		{"uvicorn --fd {fd} app", "", nil, "127.0.0.1:8000", "default"},
		{"uvicorn --fd {fd} app", "5000", nil, "0.0.0.0:5000", "PORT"},
		{"gunicorn -b unix:s app", "", nil, "unix:/srv/s", "command line"},
	} {
		a, err := FromCommand(CommandOptions{Command: strings.Fields(c.command), Directory: "/srv", Environ: []string{"PORT=" + c.port}, Listen: c.listen})
		if err != nil || strings.Join(a.Listen, " ") != c.want || a.ListenFrom != c.from {
			t.Errorf("%s: %+v, %v", c.command, a, err)
		}
	}
}

func TestFromCommandTellsAllFaults(t *testing.T) {
	_, err := FromCommand(CommandOptions{
		Command: []string{"gunicorn", "-D", "app"}, Directory: "/srv", Name: "Not A Name", Listen: []string{":1", "8000"},
		Ready: "up", Reload: "fast", EnvFile: []string{"/no/such/file"}, HoldTimeout: -time.Second,
	})
	if err == nil {
		t.Fatal("all that was accepted")
	}
	for _, want := range []string{"--name: ", "--listen: ", "--ready: ", "--reload: ", "/no/such/file", "--hold-timeout: ", "--daemon"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in\n%v", want, err)
		}
	}
	if _, err := FromCommand(CommandOptions{Directory: "/srv"}); err == nil {
		t.Error("no command was accepted")
	}
	if _, err := FromCommand(CommandOptions{Command: []string{"serve"}, Directory: "/srv", Environ: []string{"PORT=http"}}); err == nil || !strings.Contains(err.Error(), "PORT") {
		t.Errorf("got %v", err)
	}
}

func TestDefaultName(t *testing.T) {
	for directory, want := range map[string]string{
		"/srv/shop": "shop", "/srv/shop/current": "shop", "/srv/My Shop.v2": "my-shop-v2", "/": "app", "/srv/_x_": "x", "/srv/Ünï": "n",
		"/srv/" + strings.Repeat("long-", 10): "long-long-long-long-long-long-lo",
	} {
		if got := defaultName(directory); got != want || checkName(got) != nil {
			t.Errorf("%s: %s", directory, got)
		}
	}
}

// A script whose gunicorn is not understood is not served on a guessed address.
func TestTheAddressOfAGunicornInAScriptIsNeverGuessed(t *testing.T) {
	for _, script := range []string{
		"run() { exec gunicorn shop:app; }; run",
		"if true; then gunicorn shop:app; fi",
		"gunicorn shop:app & gunicorn admin:app",
		"cat <<EOF\nx\nEOF\nexec gunicorn shop:app",
	} {
		o := CommandOptions{Command: []string{"sh", "-c", script}, Directory: "/srv/shop"}
		if a, err := FromCommand(o); err == nil || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("%q: %+v, %v", script, a, err)
		}
		o.Listen = []string{"127.0.0.1:8001"}
		if _, err := FromCommand(o); err != nil {
			t.Errorf("%q with --listen: %v", script, err)
		}
	}
	other := CommandOptions{Command: []string{"sh", "-c", "# instead of gunicorn\nexec shop-server"}, Directory: "/srv/shop"}
	if a, err := FromCommand(other); err != nil || a.ListenFrom != "default" {
		t.Errorf("%+v, %v", a, err)
	}
}
