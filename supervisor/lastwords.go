package supervisor

import (
	"context"
	"strings"
	"time"

	"tideover/supervisor/gunicorn"
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
		lines = gunicorn.WithoutNoise(lines)
	}
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return lines[max(0, len(lines)-shownLines):]
}
