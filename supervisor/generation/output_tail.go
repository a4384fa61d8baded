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

// OutputTail returns the last lines of the generation's output, without gunicorn's
// lines of every start and stop.
func (g *Generation) OutputTail(log *logs.Log) []string {
	settled, cancel := context.WithTimeout(context.Background(), time.Second)
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
