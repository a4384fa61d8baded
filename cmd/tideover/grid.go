package main

import (
	"strings"
	"unicode/utf8"
)

// column is one column of a grid. Where a terminal is too narrow for all, those
// that matter least are left out first; 0 is never left out. Before anything is
// left out that matters, names are cut.
type column struct {
	head    string
	right   bool // numbers
	matters int
}

// matter is from when on a column matters more than the end of a long name.
const matter = 4

// cell is a text and what it is painted in.
type cell struct {
	text  string
	color color
}

// grid is text in columns, below their heads.
type grid struct {
	columns []column
	rows    [][]cell
}

func (g *grid) add(row ...cell) { g.rows = append(g.rows, row) }

// plain makes cells that are not painted.
func plain(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i].text = text
	}
	return row
}

// without is the grid less one column.
func (g *grid) without(i int) *grid {
	narrower := &grid{columns: append(append([]column{}, g.columns[:i]...), g.columns[i+1:]...)}
	for _, row := range g.rows {
		narrower.add(append(append([]cell{}, row[:i]...), row[i+1:]...)...)
	}
	return narrower
}

// text is the grid as it fits on a screen; into a pipe goes all of it.
func (g *grid) text(s screen) string {
	widths := g.widths()
	if s.terminal && total(widths) > s.room() {
		least := g.dispensable()
		if least >= 0 && g.columns[least].matters < matter {
			return g.without(least).text(s)
		}
		widths[0] = max(min(widths[0], 12), widths[0]-(total(widths)-s.room()))
		if least >= 0 && total(widths) > s.room() {
			return g.without(least).text(s)
		}
	}
	var b strings.Builder
	g.write(&b, s, widths, plain(g.heads()...))
	for _, row := range g.rows {
		g.write(&b, s, widths, row)
	}
	return b.String()
}

func (g *grid) heads() []string {
	heads := make([]string, len(g.columns))
	for i, c := range g.columns {
		heads[i] = c.head
	}
	return heads
}

func (g *grid) widths() []int {
	widths := make([]int, len(g.columns))
	for i, c := range g.columns {
		widths[i] = len(c.head)
		for _, row := range g.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	return widths
}

// total is how many columns of a screen it takes, with two between cells.
func total(widths []int) int {
	sum := -2
	for _, w := range widths {
		sum += w + 2
	}
	return sum
}

// dispensable is the column that matters least; -1: each one is needed.
func (g *grid) dispensable() int {
	least := -1
	for i, c := range g.columns {
		if c.matters > 0 && (least < 0 || c.matters < g.columns[least].matters) {
			least = i
		}
	}
	return least
}

func (g *grid) write(b *strings.Builder, s screen, widths []int, row []cell) {
	var line strings.Builder
	gap := 0
	for i, c := range row {
		text := cut(c.text, widths[i])
		fill := widths[i] - utf8.RuneCountInString(text)
		if g.columns[i].right {
			gap, fill = gap+fill, 0
		}
		if text != "" { // so that no line ends in blanks
			line.WriteString(strings.Repeat(" ", gap))
			gap = 0
			if c.color != "" {
				text = s.paint(c.color, text)
			}
			line.WriteString(text)
		}
		gap += fill + 2
	}
	b.WriteString(line.String() + "\n")
}
