package monitor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// oomScoreFile has the oom_score_adj of this process.
const oomScoreFile = "/proc/self/oom_score_adj"

// Values of oom_score_adj, from -1000 to 1000: it is the share of the memory, in thousandths, that the
// kernel adds to what a process has when it looks for the one to kill. Apps have what tideover was
// started with where the monitor may lower its own (CAP_SYS_RESOURCE), else a little more than it.
const (
	monitorOOMScore    = -900
	supervisorOOMScore = -800
	supervisorOOMMore  = 20
	appOOMMore         = 100
	maxOOMScore        = 1000
)

// oomScores are the oom_score_adj of processes.
type oomScores struct{ supervisor, app int }

// setOOMScore gives this process its oom_score_adj: where memory is exhausted an app is killed first, and
// the monitor last. It returns those of its children; nil: they inherit it.
func setOOMScore() *oomScores {
	former, err := readOOMScore()
	if err != nil {
		return nil
	}
	return oomScoresOf(former, former > monitorOOMScore && writeOOMScore(monitorOOMScore) == nil)
}

// oomScoresOf returns those of the children of a monitor that was started with former.
func oomScoresOf(former int, lowered bool) *oomScores {
	switch {
	case lowered:
		return &oomScores{supervisorOOMScore, max(former, supervisorOOMScore)}
	case former <= monitorOOMScore: // nothing of this service is to be killed
		return nil
	}
	return &oomScores{min(former+supervisorOOMMore, maxOOMScore), min(former+appOOMMore, maxOOMScore)}
}

// String is what oomVariable has.
func (s *oomScores) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprint(s.supervisor, " ", s.app)
}

// parseOOMScores reads oomVariable; nil: it has none.
func parseOOMScores(text string) *oomScores {
	var s oomScores
	if n, _ := fmt.Sscan(text, &s.supervisor, &s.app); n != 2 {
		return nil
	}
	return &s
}

func readOOMScore() (int, error) {
	text, err := os.ReadFile(oomScoreFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func writeOOMScore(n int) error { return os.WriteFile(oomScoreFile, []byte(strconv.Itoa(n)), 0) }
