package gunicorn

import (
	"slices"
	"strings"
	"testing"
)

// A command that is gunicorn keeps its arguments, and binds addresses that are
// complete.
func FuzzParse(f *testing.F) {
	for _, seed := range [][3]string{
		{"gunicorn\n-b\n:8000\nshop", "", ""},
		{"python3\n-m\ngunicorn\n--bind=[::1]:8000\n-w4\nshop:app", "", "5000"},
		{"uv\nrun\n-m\ngunicorn\n--bi\nunix:/run/s.sock", "-b :1 --env 'A=b c'", ""},
		{"env\n-i\nA=1\nnice\n-n\n5\nvenv/bin/gunicorn\n-Rb:8000\n--", "-w 3", "80"},
		{"gunicorn\n-b\n][:80\n-D\n-\n0", "-", ""},
		{"sh\n-c\ncd /srv && exec gunicorn -b $HOST:${PORT:-8000} shop", "", "1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, command, args, port string) {
		argv := strings.Split(command, "\n")
		before := slices.Clone(argv)
		env := map[string]string{"GUNICORN_CMD_ARGS": args, "PORT": port}
		g, err := Parse(argv, func(name string) string { return env[name] }, nil)
		if !slices.Equal(argv, before) {
			t.Fatalf("%q became %q", before, argv)
		}
		if g == nil && err != nil {
			t.Fatalf("%q is not gunicorn, and yet %v", argv, err)
		}
		rest, removed := RemoveOptions(argv, "daemon", "pid", "bind")
		if len(rest)+len(removed) != len(argv) {
			t.Errorf("%q is split into %q and %q", argv, rest, removed)
		}
		if g == nil || err != nil {
			return
		}
		if len(g.Wrappers) == 0 && !slices.Equal(g.Args, argv[len(argv)-len(g.Args):]) {
			t.Errorf("%q has the arguments %q", argv, g.Args)
		}
		if len(g.Bind.Addresses) == 0 || g.Bind.From == "" {
			t.Errorf("%q binds nothing", argv)
		}
		for _, a := range g.Bind.Addresses {
			if !strings.HasPrefix(a, "unix:") && !strings.HasPrefix(a, "fd://") && !strings.Contains(a, ":") {
				t.Errorf("%q binds %q", argv, a)
			}
		}
		g.Validate(true)
		g.Warnings()
		g.Addresses("/")
		g.queryArgv("/tmp/query.py")
	})
}

// What gunicorn reports comes from a program of the app's user. No report ends the
// daemon: it is refused, or its addresses are complete.
func FuzzReport(f *testing.F) {
	for _, seed := range []string{
		`{"version": "23.0.0", "bind": ["127.0.0.1:8000", "unix:/run/s.sock"], "workers": 2, "graceful_timeout": 30}`,
		`{"bind": ["][:80"]}`, `{"bind": ["[::1]:8000", "fd://3"], "timeout": 1e308, "chdir": "../x"}`, `{"bind": null}`, `{`,
	} {
		f.Add([]byte("a line of the configuration file\n" + reportMarker + seed + "\n"))
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		r, err := parseReport(output)
		if err != nil {
			return
		}
		g, err := (&Command{Args: []string{"app"}}).WithReport(r)
		if err != nil {
			return
		}
		for _, a := range g.Bind.Addresses {
			if !strings.HasPrefix(a, "unix:") && !strings.HasPrefix(a, "fd://") && !strings.Contains(a, ":") {
				t.Errorf("%q binds %q", output, a)
			}
		}
		g.Validate(true)
		g.Warnings()
		g.Addresses("/")
		g.HasControlSocket()
		g.Concurrency()
	})
}
