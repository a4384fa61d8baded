package supervisor

import (
	"context"
	"regexp"
	"strings"
	"time"

	"tideover/supervisor/logs"
)

// shownLines of a failed generation's output go into the result.
const shownLines = 20

// lastWords are the lines of a generation's output that say why it failed.
func (g *Generation) lastWords(log *logs.Log) []string {
	settled, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	log.Settle(settled, g.number)
	var lines []string
	for _, line := range log.Tail(g.number, 200) {
		lines = append(lines, line.Text)
	}
	if g.settings.Gunicorn != nil {
		lines = telling(lines)
	}
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return lines[max(0, len(lines)-shownLines):]
}

// chatter is what gunicorn says at every start and every stop.
var chatter = regexp.MustCompile(`\] \[INFO\] (Starting gunicorn|Listening at|Using worker|Booting worker|Control socket|Worker exiting|Shutting down|Handling signal)|` +
	`\] \[ERROR\] (Worker \(pid:\d+\) exited with code|Shutting down: Master|Reason: Worker failed to boot)`)

// telling leaves gunicorn's chatter out, and the traceback of its master, which
// follows the worker's and says only that a worker failed. When nothing is left,
// what there was is told.
func telling(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if !chatter.MatchString(line) {
			kept = append(kept, line)
		}
	}
	for i := len(kept) - 1; i >= 0; i-- {
		if !strings.HasPrefix(kept[i], "gunicorn.errors.HaltServer") {
			continue
		}
		from := i
		for from > 0 && !strings.HasPrefix(kept[from], "Traceback (most recent call last)") {
			from--
		}
		for from > 0 && (kept[from-1] == "" || strings.HasPrefix(kept[from-1], "During handling of")) {
			from--
		}
		kept = append(kept[:from:from], kept[i+1:]...)
		i = from
	}
	if len(strings.TrimSpace(strings.Join(kept, ""))) == 0 {
		return lines
	}
	return kept
}
