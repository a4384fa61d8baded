//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/browser"
	"tideover/scripts/testenv"
)

// What looking costs is printed, in processor time a second of tideover and of what looks, while nothing
// happens: without a viewer, with the page open in Chromium, with top in a terminal.
func TestWhatLookingCosts(t *testing.T) {
	r := begin(t)
	address, err := testenv.Address()
	r.must(err)
	m := newManyApps(r, size(10, 100), fmt.Sprintf("[daemon]\nadmin = %q\n", address))
	m.waitState("running")
	length := time.Duration(size(1, 10)) * time.Second
	measure := func(name string, own func() time.Duration) {
		pause(r, length/2) // what has just begun
		began, daemon, looker := time.Now(), m.cpu(), own()
		pause(r, length)
		ms := func(before, after time.Duration) float64 {
			return (after - before).Seconds() * 1000 / time.Since(began).Seconds()
		}
		r.addNumbers("%s=%.1fms/s", name, ms(daemon, m.cpu()))
		if spent := own(); spent > 0 {
			r.addNumbers("%s_itself=%.1fms/s", name, ms(looker, spent))
		}
	}
	measure("nobody", func() time.Duration { return 0 })

	ctx := r.timeout(2 * time.Minute)
	b, err := browser.Start(ctx, browser.Options{Dir: r.env.Path("chromium"), Width: 1280, Height: 900})
	r.must(err)
	defer b.Close()
	r.must(b.Open(ctx, "http://"+address+"/"))
	r.must(b.WaitFor(ctx, fmt.Sprintf("document.querySelectorAll('#apps tbody tr').length == %d && document.querySelector('#link').dataset.is == 'on'", m.n)))
	measure("page", func() time.Duration { return cpuOfGroup(b.Pid()) })
	b.Close()

	w := newTerminal(r, 120, 40, testenv.Binary(r.env.Root), "-S", m.daemon.Socket, "top")
	w.until(`app-0 .*running`)
	out, err := w.tmux("list-panes", "-F", "#{pane_pid}")
	r.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	r.must(err)
	measure("top", func() time.Duration { return cpuOf(pid) })
	w.tmux("kill-server")
	m.mustCall("shutdown")
	<-m.daemon.Exited()
}

// cpuOfGroup is the processor time of the processes of a group.
func cpuOfGroup(group int) (sum time.Duration) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(text), ") ")
		if words := strings.Fields(rest); len(words) > 2 && words[2] == strconv.Itoa(group) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			sum += cpuOf(pid)
		}
	}
	return sum
}
