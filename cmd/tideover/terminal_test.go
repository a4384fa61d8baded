package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// pseudoTerminal is a real terminal of 80 columns, and its other end.
func pseudoTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	// Not blocking, so that Close ends a Read.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return master, tty
}

// terminal runs use with a terminal and returns what was written to it.
func terminal(t *testing.T, use func(tty *os.File)) string {
	t.Helper()
	master, tty := pseudoTerminal(t)
	read := make(chan string)
	go func() {
		var all bytes.Buffer
		all.ReadFrom(master) // ends with EIO when the last writer has closed
		read <- all.String()
	}()
	use(tty)
	tty.Close()
	return strings.ReplaceAll(<-read, "\r\n", "\n")
}

// screenful is what stays on the screen: rewritten lines as they were last,
// without colours.
func screenful(raw string) string {
	raw = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(raw, "")
	var b strings.Builder
	for line := range strings.Lines(raw) {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// onTerminal runs a command line with both outputs on one terminal.
func onTerminal(t *testing.T, dir string, env []string, args ...string) (raw string, exit int) {
	t.Helper()
	raw = terminal(t, func(tty *os.File) {
		exit = Main{Dirs: []string{dir}}.Run(t.Context(), args, strings.NewReader(""), tty, tty, env)
	})
	return raw, exit
}

func TestReloadOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded(), okResult()
	raw, exit := onTerminal(t, dir, nil, "reload")
	want := `shop  reload   generation 7 serves

  ✓ start     pid 48213                                                  410 ms
  ✓ ready     tries 3 · status 200                                        2.3 s
  ✓ swap                                                                   9 ms
  ✓ drain     cut 0                                                       4.1 s

✓ shop serves generation 8 after 7.8 s · held 17 (longest 6 ms) · lost 0
`
	if got := screenful(raw); exit != 0 || got != want {
		t.Errorf("exit %d\n%s\nwant:\n%s", exit, got, want)
	}
	if !strings.Contains(raw, "\x1b[32m✓\x1b[0m") {
		t.Errorf("no colours: %q", raw)
	}
}

func TestFailedReloadOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.phases, d.results["shop"] = reloaded()[:3], keptOld()
	d.phases[2].Name, d.phases = "ready", append(d.phases, api.Phase{From: 7, To: 8, Name: "ready", Result: "failed", Duration: time.Minute})
	harm := keptOld()
	harm.ChildOutput = []string{"title \x1b]0;gotcha\x07 and \x1b[31mred\x1b[0m"}
	d.results["shop"] = harm
	raw, exit := onTerminal(t, dir, nil, "reload")
	got := screenful(raw)
	for _, want := range []string{
		"  ✗ ready                                                                 1 min\n",
		"\n✗ generation 8 of shop did not come up: it ended with exit status 3; generation\n  7 still serves\n",
		"    │ HTTP/1.1 500 Internal Server Error\n",
		`    │ title \x1b]0;gotcha\x07 and red`,
		"exit 7 (kept old)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("exit %d, no %q in\n%s", exit, want, got)
		}
	}
}

func TestColours(t *testing.T) {
	t.Parallel()
	_, dir := shopDaemon(t)
	for _, c := range []struct {
		env   []string
		args  string
		paint bool
	}{
		{nil, "status", true},
		{[]string{"NO_COLOR=1"}, "status", false},
		{[]string{"NO_COLOR=1"}, "status --color always", true},
		{nil, "status --color never", false},
		{[]string{"TERM=dumb"}, "status", false},
	} {
		raw, _ := onTerminal(t, dir, c.env, strings.Fields(c.args)...)
		if painted := strings.Contains(raw, "\x1b[32m"); painted != c.paint {
			t.Errorf("%v %s: painted %v, want %v", c.env, c.args, painted, c.paint)
		}
	}
	if got := tideover(t, dir, "status"); strings.Contains(got.stdout, "\x1b") {
		t.Errorf("colours into a pipe: %q", got.stdout)
	}
	if got := tideover(t, dir, "status", "--color", "always"); !strings.Contains(got.stdout, "\x1b[32m") {
		t.Errorf("no colours with --color always: %q", got.stdout)
	}
}

func TestPhaseUnderWayIsRewritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	view := newLiveProgress(term.Screen{Out: &out, Terminal: true, Width: 40}, 0)
	began := time.Now()
	view.phase(api.Phase{App: "shop", Verb: api.Restart, Name: "ready", Attrs: []api.Attr{{Key: "long", Value: strings.Repeat("x", 100)}}})
	view.tick(began.Add(4 * time.Second))
	view.tick(began.Add(5 * time.Second))
	if strings.Count(out.String(), "\n") != 2 {
		t.Errorf("more than the title's lines: %q", out.String())
	}
	view.close()
	view.close()
	lines := strings.Split(screenful(out.String()), "\n")
	if len(lines) != 4 || len([]rune(lines[2])) > 39 || !strings.HasSuffix(lines[2], "5.0 s") && !strings.HasSuffix(lines[2], "4.9 s") {
		t.Errorf("%q", lines)
	}
}

func TestHeartbeatInALog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	view := &logProgress{screen: term.Screen{Out: &out}}
	view.tick(time.Now())
	view.phase(api.Phase{App: "shop", Name: "ready"})
	view.tick(time.Now().Add(20 * time.Second))
	view.phase(api.Phase{App: "shop", Name: "ready", Result: "ok", Duration: 21 * time.Second})
	view.tick(time.Now().Add(30 * time.Second))
	want := "app=shop phase=ready result=waiting duration_s=20\napp=shop phase=ready result=ok duration_s=21\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestLogsOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.lines = []logs.Line{{App: "shop", Generation: 8, Text: "\x1b[1mbold\x1b[0m \x1b[2J\x07"}, {App: "shop", Text: "plain"}}
	raw, _ := onTerminal(t, dir, nil, "logs")
	if !strings.Contains(raw, "\x1b[1mbold\x1b[0m \\x1b[2J\\x07\x1b[0m\n") {
		t.Errorf("%q", raw)
	}
	first, second, _ := strings.Cut(raw, "\n")
	if color := regexp.MustCompile(`^\x1b\[[0-9;]+m`); color.FindString(first) == "" || color.FindString(first) != color.FindString(second) {
		t.Errorf("an app's colour must be one and the same: %q", raw)
	}
}

func TestStatusOfAnotherUsersAppOnATerminal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps[0].Directory, d.status.Apps[0].Warnings = "/srv/\x1b]0;gotcha\x07", []string{"ring\x07"}
	raw, exit := onTerminal(t, dir, nil, "status", "shop")
	if exit != 0 || strings.ContainsAny(raw, "\x07") || !strings.Contains(raw, `/srv/\x1b]0;gotcha\x07`) || !strings.Contains(raw, `ring\x07`) {
		t.Errorf("exit %d, %q", exit, raw)
	}
}

func TestKeyValues(t *testing.T) {
	t.Parallel()
	fact := func(key, value string) api.Attr { return api.Attr{Key: key, Value: value} }
	for _, c := range []struct {
		attrs []api.Attr
		want  string
		whole bool
	}{
		{[]api.Attr{fact("a", "1"), fact("b", "two words"), fact("c", "")}, `a=1 b="two words" c=""`, true},
		{[]api.Attr{fact("a", strings.Repeat("x", 70)), fact("b", "1234567"), fact("c", "1")}, "a=" + strings.Repeat("x", 70), false},
	} {
		if got, whole := keyValues(c.attrs); got != c.want || whole != c.whole {
			t.Errorf("%q, whole %v, want %q", got, whole, c.want)
		}
	}
}
