package monitor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhereMemoryIsExhaustedAnAppIsKilledFirstAndTheMonitorLast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		former  int
		lowered bool
		want    string
	}{
		{0, true, "-800 0"},
		{500, true, "-800 500"},
		{-850, true, "-800 -800"},
		{0, false, "20 100"},
		{950, false, "970 1000"},
		{-500, false, "-480 -400"},
		{-997, false, ""},
		{-1000, false, ""},
	} {
		scores := oomScoresOf(c.former, c.lowered)
		if got := scores.String(); got != c.want || parseOOMScores(got).String() != c.want {
			t.Errorf("%d, lowered %v: %q, want %q", c.former, c.lowered, got, c.want)
		}
	}
	m := startMonitor(t, nil)
	for range 2 {
		own, err := strconv.Atoi(oomScoreOf(t, m.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		supervisor, err := strconv.Atoi(oomScoreOf(t, m.number("pids")))
		if app := m.number("oom"); err != nil || own >= supervisor || supervisor >= app {
			t.Errorf("monitor %d, supervisor %d, app %d", own, supervisor, app)
		}
		m.do("hello")
		m.do("up")
		m.kill(unix.SIGKILL)
		m.next("begun")
	}
}

func oomScoreOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
