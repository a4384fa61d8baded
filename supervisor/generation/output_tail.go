package generation

import (
	"context"
	"strings"
	"time"

	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
)

// outputTailLines is how many lines of a failed generation's output go into the
// result.
const outputTailLines = 20

// OutputWait is how long the caller of an operation waits for the last lines.
const OutputWait = time.Second

// OutputTail returns the last lines of the generation's output, without gunicorn's lines of every
// start and stop. It waits at most this long for the end of the output, which a process that is left
// delays.
func (g *Generation) OutputTail(log *logs.Log, wait time.Duration) []string {
	settled, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	log.Settle(settled, g.Number)
	var lines []string
	for _, line := range log.Tail(g.Number, 200) {
		lines = append(lines, line.Text)
	}
	if g.App.Gunicorn != nil {
		lines = gunicorn.WithoutNoise(lines)
	}
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return lines[max(0, len(lines)-outputTailLines):]
}
