package gunicorn

import (
	"strings"

	"tideover/supervisor/lazyregexp"
)

// routine matches the lines that gunicorn logs at every start and every stop.
var routine = lazyregexp.New(`\] \[INFO\] (Starting gunicorn|Listening at|Using worker|Booting worker|Control socket|Worker exiting|Shutting down|Handling signal)|` +
	`\] \[ERROR\] (Worker \(pid:\d+\) exited with code|Shutting down: Master|Reason: Worker failed to boot)`)

// WithoutNoise returns the lines of gunicorn's output that can say why a start
// failed. It removes the routine lines, and the traceback of gunicorn's master,
// which follows that of the worker and says only that a worker failed. If nothing
// would be left, it returns all lines.
func WithoutNoise(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if !routine.MatchString(line) {
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
