package main

import (
	"fmt"
	"strings"
	"time"
)

// row is what became of requests around one act.
type row struct {
	command, meaning string
	ours             bool // under tideover
	requests, lost   int
	held             string
	longest          time.Duration
	ways             string // in which requests were lost
}

// table has a line for each act.
func table(s screen, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.paint(faint, fmt.Sprintf("%-38s %9s %7s %13s %7s", "", "requests", "held", "longest wait", "lost")))
	for _, r := range rows {
		lost := fmt.Sprintf("%7d", r.lost)
		if r.lost > 0 {
			lost = s.paint(red, lost)
		}
		fmt.Fprintf(&b, "%-38s %9d %7s %11.2f s %s\n", r.command, r.requests, r.held, r.longest.Seconds(), lost)
	}
	return b.String()
}

// verdict is the table in a sentence or two.
func verdict(s screen, rows []row) string {
	var ours, theirs row
	for _, r := range rows {
		sum := &theirs
		if r.ours {
			sum = &ours
		}
		sum.requests += r.requests
		sum.lost += r.lost
	}
	compared := fmt.Sprintf("supervisord lost %d in one restart.", theirs.lost)
	if ours.lost > 0 {
		return s.paint(red, fmt.Sprintf("Under tideover %d of %d requests were lost: that is a bug.\n%s", ours.lost, ours.requests, strings.Join(waysOf(rows), "\n")))
	}
	return s.paint(green, fmt.Sprintf("Under tideover all %d requests were answered", ours.requests)) + "; " + compared
}

func waysOf(rows []row) []string {
	var lines []string
	for _, r := range rows {
		if r.ours && r.lost > 0 {
			lines = append(lines, fmt.Sprintf("  %s: %s", r.command, r.ways))
		}
	}
	return lines
}

func lostUnderTideover(rows []row) int {
	lost := 0
	for _, r := range rows {
		if r.ours {
			lost += r.lost
		}
	}
	return lost
}
