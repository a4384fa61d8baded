package main

import (
	"fmt"
	"slices"
	"strings"
)

// beforeOf is the name of the same server with the other tideover binary: before-tcp of
// tideover-tcp. Servers other than tideover have none.
func beforeOf(name string) (string, bool) {
	rest, is := strings.CutPrefix(name, "tideover")
	return "before" + rest, is
}

// maxRatio is the largest ratio now / before that counts as not worse.
const maxRatio = 1.02

// A comparison is one quantity of one scenario, of the binary built now and the one before.
type comparison struct {
	server, quantity string
	judged           bool      // the quantity decides whether now is worse
	ratios           []float64 // of each round; above 1 the binary built now is worse
}

func (c comparison) median() float64 { return median(c.ratios) }

// worse reports whether the binary built now costs more than the tolerated 2 %.
func (c comparison) worse() bool { return c.judged && c.median() > maxRatio }

// compare appends, for each pair and column, the ratio of one round. A round consists of turns, each
// of which has one value per column; the pair's turns are neighbours in time, so that the median of
// their ratios is not affected by a machine that becomes slower or faster.
func (t *table) compare(turns map[string][][]float64) {
	for _, now := range t.names {
		name, is := beforeOf(now)
		before := turns[name]
		if !is || before == nil {
			continue
		}
		for i, c := range t.columns {
			var ratios []float64
			for turn, values := range turns[now] {
				if ratio, ok := c.ratio(values[i], before[turn][i]); ok {
					ratios = append(ratios, ratio)
				}
			}
			if len(ratios) > 0 {
				t.compared(now, c).ratios = append(t.compared(now, c).ratios, median(ratios))
			}
		}
	}
}

// ratio is now / before, or before / now where higher is better.
func (c column) ratio(now, before float64) (ratio float64, ok bool) {
	if c.better == higher {
		now, before = before, now
	}
	return now / before, now > 0 && before > 0
}

// compared returns the table's comparison of a pair in one column, made at first use.
func (t *table) compared(server string, c column) *comparison {
	for i := range t.comparisons {
		if one := &t.comparisons[i]; one.server == server && one.quantity == c.title {
			return one
		}
	}
	t.comparisons = append(t.comparisons, comparison{server: server, quantity: c.title, judged: c.judged})
	return &t.comparisons[len(t.comparisons)-1]
}

// comparisonRows is the table now / before of all scenarios; the first row is the head.
func (r *report) comparisonRows() [][]string {
	head := []string{"", "server", "quantity"}
	for round := range r.rounds {
		head = append(head, fmt.Sprint("round ", round+1))
	}
	rows := [][]string{append(head, "median", "verdict")}
	for _, t := range r.tables {
		for _, c := range t.comparisons {
			row := []string{t.name, c.server, c.quantity}
			for round := range r.rounds {
				text := "-"
				if round < len(c.ratios) {
					text = fmt.Sprintf("%.3f", c.ratios[round])
				}
				row = append(row, text)
			}
			rows = append(rows, append(row, fmt.Sprintf("%.3f", c.median()), c.verdict()))
		}
	}
	return rows
}

func (c comparison) verdict() string {
	switch {
	case !c.judged:
		return "-"
	case c.worse():
		return "worse"
	}
	return "ok"
}

// verdicts is a line for each scenario: ok, or worse and in what.
func (r *report) verdicts() string {
	var b strings.Builder
	for _, t := range r.tables {
		if len(t.comparisons) == 0 {
			continue
		}
		var worse []string
		for _, c := range t.comparisons {
			if c.worse() {
				worse = append(worse, fmt.Sprintf("%s of %s %.3f", c.quantity, c.server, c.median()))
			}
		}
		if len(worse) > 0 {
			fmt.Fprintf(&b, "%s: worse (%s)\n", t.name, strings.Join(worse, ", "))
		} else {
			fmt.Fprintf(&b, "%s: ok\n", t.name)
		}
	}
	return b.String()
}

// median is the middle of the values, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}
