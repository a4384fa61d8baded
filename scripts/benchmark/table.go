package main

import (
	"fmt"
	"strings"
)

// A table has a row for each server and the medians of what was measured.
type table struct {
	name, title string
	names       []string
	columns     []column
	values      map[string][][]float64 // by server, then column
	comparisons []comparison
}

type column struct {
	title  string
	better direction
	peers  []string // tideover is compared with the best of these
	judged bool     // two binaries of tideover are judged by it
}

// direction says which of two values is better.
type direction bool

const (
	lower  direction = false
	higher direction = true
)

// cost is a column of which lower is better, and by which two binaries of tideover are judged.
func cost(title string, peers []string) column { return column{title, lower, peers, true} }

// shown is a column that is only shown.
func shown(title string, better direction) column { return column{title, better, nil, false} }

// mainPeers are what tideover is compared with where all servers do the same.
var mainPeers = []string{"nginx-1", "nginx-2", "haproxy-1", "haproxy-2"}

func newTable(names []string, columns ...column) *table {
	return &table{names: names, columns: columns, values: map[string][][]float64{}}
}

// add appends what one round measured.
func (t *table) add(name string, values ...float64) {
	if t.values[name] == nil {
		t.values[name] = make([][]float64, len(t.columns))
	}
	for i, v := range values {
		t.values[name][i] = append(t.values[name][i], v)
	}
}

// median is the middle of what was measured; false: nothing was.
func (t *table) median(name string, column int) (float64, bool) {
	if t.values[name] == nil || len(t.values[name][column]) == 0 {
		return 0, false
	}
	return median(t.values[name][column]), true
}

// best is the best median among those compared with.
func (t *table) best(column int) (best float64, found bool) {
	c := t.columns[column]
	for _, name := range c.peers {
		v, ok := t.median(name, column)
		if ok && (!found || (v > best) == bool(c.better)) {
			best, found = v, true
		}
	}
	return best, found
}

// cells are the table as text: the first row is the head.
func (t *table) cells() [][]string {
	head := []string{""}
	for i, c := range t.columns {
		head = append(head, c.title)
		if _, found := t.best(i); found {
			head = append(head, "ratio")
		}
	}
	rows := [][]string{head}
	for _, name := range t.names {
		row := []string{name}
		for i := range t.columns {
			v, ok := t.median(name, i)
			text := "-"
			if ok {
				text = number(v)
			}
			row = append(row, text)
			if best, found := t.best(i); found && ok {
				row = append(row, fmt.Sprintf("%.2f", v/best))
			} else if found {
				row = append(row, "-")
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func number(v float64) string {
	switch {
	case v == float64(int(v)) && v < 100000:
		return fmt.Sprint(int(v))
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// plain aligns the columns of a table.
func plain(rows [][]string) string {
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			width := 0
			for _, other := range rows {
				width = max(width, len([]rune(other[i])))
			}
			pad := strings.Repeat(" ", width-len([]rune(cell)))
			if i == 0 {
				b.WriteString("  " + cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// markdown writes a table. The first row is the head.
func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|--:", len(row)-1) + "|\n")
		}
	}
	return b.String()
}
