//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tideover/scripts/testenv"
)

// terminal is a program in a terminal of tmux.
type terminal struct {
	*row
	socket        string
	width, height int
}

// newTerminal starts a program in a terminal of this size.
func newTerminal(r *row, width, height int, argv ...string) *terminal {
	r.Helper()
	t := &terminal{row: r, socket: r.env.Path(fmt.Sprintf("tmux-%dx%d", width, height)), width: width, height: height}
	r.Cleanup(func() { t.tmux("kill-server") })
	_, err := t.tmux(append([]string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "--"}, argv...)...)
	r.must(err)
	return t
}

// tmux runs a command of tmux, also in a Cleanup, when the context of the row has ended.
func (t *terminal) tmux(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tmux", append([]string{"-u", "-S", t.socket}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("tmux %v: %w: %s", args, err, out)
	}
	return string(out), err
}

func (t *terminal) keys(keys ...string) {
	t.Helper()
	_, err := t.tmux(append([]string{"send-keys"}, keys...)...)
	t.must(err)
}

func (t *terminal) resize(width, height int) {
	t.Helper()
	_, err := t.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
	t.must(err)
	t.width, t.height = width, height
}

// screen is what the terminal shows, without colours.
func (t *terminal) screen() string {
	t.Helper()
	text, err := t.tmux("capture-pane", "-p")
	t.must(err)
	return text
}

// until waits until the screen matches every pattern and is whole: it may be seen in the middle of
// being drawn.
func (t *terminal) until(patterns ...string) {
	t.Helper()
	t.must(testenv.Poll(t.timeout(20*time.Second), 50*time.Millisecond, func() error {
		screen := t.screen()
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(screen) {
				return fmt.Errorf("no %q in the terminal of %d x %d:\n%s", p, t.width, t.height, screen)
			}
		}
		return t.checkWhole(screen)
	}))
}

// checkWhole demands that a screen has its size, and that its boxes are whole.
func (t *terminal) checkWhole(screen string) error {
	lines := strings.Split(strings.TrimSuffix(screen, "\n"), "\n")
	if len(lines) != t.height {
		return fmt.Errorf("%d lines in a terminal of %d x %d:\n%s", len(lines), t.width, t.height, screen)
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > t.width {
			return fmt.Errorf("a line of %d columns in a terminal of %d x %d: %s", n, t.width, t.height, line)
		}
	}
	for corner, other := range map[string]string{"╭": "╮", "╰": "╯"} {
		if strings.Count(screen, corner) != strings.Count(screen, other) {
			return fmt.Errorf("boxes are not whole in a terminal of %d x %d:\n%s", t.width, t.height, screen)
		}
	}
	return nil
}

// end quits the program, which must leave nothing of the terminal's session.
func (t *terminal) end() {
	t.Helper()
	t.keys("q")
	t.must(testenv.Poll(t.timeout(10*time.Second), 50*time.Millisecond, func() error {
		if _, err := t.tmux("has-session"); err == nil {
			text, _ := t.tmux("capture-pane", "-p") // it may end at this moment
			return fmt.Errorf("the program did not end:\n%s", text)
		}
		return nil
	}))
}

// The live screen is right in three sizes and when the size changes: under load, during a reload that
// another command has begun, and for a reload and a hold that are begun by its keys. No request is lost.
func TestTop(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{config: "hold = { timeout = \"60s\", limit = 4000 }\n", release: testenv.Release{Number: 1, Import: 0.5}})
	s.startLoad(60)
	app := s.daemon.App
	top := []string{testenv.Binary(s.env.Root), "-S", s.daemon.Socket, "top", "--interval", "300ms"}
	running := `▸ ` + app + `.* ● running`
	var screens []*terminal
	for _, size := range [][2]int{{40, 10}, {80, 24}, {160, 45}} {
		w := newTerminal(r, size[0], size[1], top...)
		w.until(`tideover`, running, `1 runn`)
		screens = append(screens, w)
	}
	small, usual, wide := screens[0], screens[1], screens[2]
	rate := regexp.MustCompile(running + ` +(?:\d+ +)?([1-9]\d*) `)
	for _, w := range screens {
		w.until(rate.String()) // requests in a second
	}
	usual.until(`APP .*STATE .*GEN .*REQ/S .*5XX/S .*P95 .*BUSY .*HELD .*MEM .*AGE`, `req/s [1-9]`, `p95 [1-9]`, `held 0`, `q quit +\? help`)
	wide.until(`REVISION|PID`, `HELD, LAST MINUTE`, `log `+app)

	// A reload of another command, and its end.
	s.event("reload", func() {
		next := testenv.Release{Number: 2, Import: 3} // what is seen of a reload is seen on a busy machine, too
		s.must(s.app.Deploy(next))
		done := make(chan error, 1)
		go func() {
			_, _, err := s.daemon.Operate(s.timeout(operationTimeout), "reload", "--wait-drain")
			done <- err
		}()
		small.until(`◐ reloading`)
		usual.until(`◐ 1 reloading`, `reload 1 → 2 .*◐ ready`, `old 1 +serves +━`, `new 2 +starts +┅`)
		s.must(<-done)
		s.must(s.isRelease(next.Number))
	})
	usual.until(running+` +2 `, `reload 1 → 2 .*ok +held \d+ +lost 0`, `new 2 +serves +┅+━`)
	wide.until(running+` +2 `, `✓ drain`, `new against old +p95 `)

	// Every size is drawn anew, and the one that is too small says so.
	wide.resize(80, 24)
	wide.until(running, `q quit`)
	wide.resize(200, 60)
	wide.until(running, `HELD, LAST MINUTE`)
	small.resize(30, 6)
	small.until(`30 x 6 is too\s+small`)
	small.resize(40, 10)
	small.until(running)

	// Keys ask before they do anything.
	s.must(s.app.Deploy(testenv.Release{Number: 2, Import: 0.5}))
	s.event("reload by key", func() {
		usual.keys("r")
		usual.until(`reload ` + app + `.*\?.*y yes`)
		usual.keys("n")
		usual.until(`q quit`)
		usual.keys("r", "y")
		usual.until(running+` +3 `, `✓ reload `+app+`.*: generation 3 serves`)
	})
	s.event("hold by key", func() {
		usual.keys("h", "y")
		usual.until(`‖ holding`, `held [1-9]\d*`)
		usual.keys("u", "y")
		usual.until(running, `released after`)
	})
	usual.keys("?")
	usual.until(`ask before they do it`)
	usual.keys("?") // Escape and a letter would be one key
	usual.until(running)
	usual.keys("l")
	usual.until(`(?s)log ` + app + `.*Booting worker`)
	for _, w := range screens {
		w.end()
	}

	// Colours are for a terminal that wants them, and without a terminal there is no screen.
	coloured := regexp.MustCompile(`\x1b\[(3[0-7]|9[0-7]|38;)`)
	for _, variant := range []struct {
		name   string
		argv   []string
		colour bool
	}{{"usual", top, true}, {"NO_COLOR", append([]string{"env", "NO_COLOR=1"}, top...), false}, {"--color never", append(slices.Clone(top), "--color", "never"), false}} {
		w := newTerminal(r, 90+len(variant.name), 24, variant.argv...)
		w.until(running)
		text, err := w.tmux("capture-pane", "-p", "-e")
		s.must(err)
		if coloured.MatchString(text) != variant.colour {
			s.Errorf("%s: colours are %v: %q", variant.name, !variant.colour, text)
		}
		w.end()
	}
	if o, err := s.daemon.Call(s.timeout(operationTimeout), "top"); err != nil || o.Exit != 2 || !strings.Contains(o.Stderr, "top needs a terminal") || strings.Contains(o.Stdout+o.Stderr, "\x1b") {
		s.Errorf("without a terminal: %v %v", o, err)
	}
	s.finish()
	s.shutdown()
}
