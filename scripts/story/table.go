package main

import (
	"fmt"
	"strings"
	"time"
)

// row is what became of requests around one act.
type row struct {
	name           string
	ours           bool // under tideover
	requests, lost int
	held           int // where ours: nobody else can
	longest        time.Duration
	ways           string   // in which requests were lost
	examples       []string // of lost ones
}

// table has a line for each act, and one for all of those under tideover.
func table(s screen, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.paint(faint, fmt.Sprintf("%-36s %9s %8s %14s %8s", "", "requests", "held", "longest wait", "lost")))
	for _, r := range append(rows, total(rows)) {
		lost := fmt.Sprintf("%8d", r.lost)
		if r.lost > 0 {
			lost = s.paint(red, lost)
		}
		fmt.Fprintf(&b, "%-36s %9d %8s %12.2f s %s\n", r.name, r.requests, heldText(r.ours, r.held), r.longest.Seconds(), lost)
	}
	return b.String()
}

// total adds up what happened under tideover.
func total(rows []row) row {
	sum := row{name: "all under tideover", ours: true}
	for _, r := range rows {
		if !r.ours {
			continue
		}
		sum.held += r.held
		sum.requests += r.requests
		sum.lost += r.lost
		sum.longest = max(sum.longest, r.longest)
	}
	return sum
}

func heldText(ours bool, held int) string {
	if !ours {
		return "-"
	}
	return fmt.Sprint(held)
}

// verdict is the table in plain words.
func verdict(s screen, rows []row) string {
	ours := total(rows)
	if ours.lost > 0 {
		words := []string{fmt.Sprintf("Under tideover %d of %d requests were lost:", ours.lost, ours.requests)}
		for _, r := range rows {
			if r.ours && r.lost > 0 {
				words = append(words, fmt.Sprintf("  %s: %s", r.name, r.ways), "    "+strings.Join(r.examples, "\n    "))
			}
		}
		return s.paint(red, strings.Join(words, "\n"))
	}
	words := s.paint(green, fmt.Sprintf("Under tideover each of %d requests got its complete right answer", ours.requests))
	for _, r := range rows {
		if !r.ours && r.lost > 0 {
			words += fmt.Sprintf(".\nOne restart by supervisord lost %d of %d", r.lost, r.requests)
		}
	}
	return words + "."
}
