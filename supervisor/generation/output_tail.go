package generation

import (
	"context"
	"strings"
	"time"

	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
)

// outputTailLines of a failed generation's output go into the result.
const outputTailLines = 20

// OutputTail are the lines of a generation's output that say why it failed.
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
