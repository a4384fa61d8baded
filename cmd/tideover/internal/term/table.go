package term

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Column is one column of a Table.
type Column struct {
	Head  string
	Right bool // aligned to the right, as numbers are
	// Priority decides which column a terminal that is too narrow leaves out
	// first: the lowest. 0: never left out.
	Priority int
}

// keepPriority is the lowest priority of the columns for which the first column
// is shortened before they are left out.
const keepPriority = 4

// minFirst is the width in columns to which the first column may be shortened.
const minFirst = 12

// Cell is a text and its colour; no colour: the terminal's own.
type Cell struct {
	Text  string
	Color Color
}

// Cells makes cells without colour.
func Cells(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	return row
}

// Table is text in columns below their heads.
type Table struct {
	Columns []Column
	rows    [][]Cell
}

// Add adds a row: one cell for each column.
func (t *Table) Add(row ...Cell) { t.rows = append(t.rows, row) }

// Text is the table as it fits on a terminal; elsewhere it is all of it.
func (t *Table) Text(s Screen) string {
	widths := t.widths()
	if s.Terminal && total(widths) > s.Columns() {
		least := t.leastImportant()
		if least >= 0 && t.Columns[least].Priority < keepPriority {
			return t.without(least).Text(s)
		}
		widths[0] = max(min(widths[0], minFirst), widths[0]-(total(widths)-s.Columns()))
		if least >= 0 && total(widths) > s.Columns() {
			return t.without(least).Text(s)
		}
	}
	var b strings.Builder
	heads := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		heads[i].Text = c.Head
	}
	t.write(&b, s, widths, heads)
	for _, row := range t.rows {
		t.write(&b, s, widths, row)
	}
	return b.String()
}

// without is the table less one column.
func (t *Table) without(i int) *Table {
	narrower := &Table{Columns: slices.Delete(slices.Clone(t.Columns), i, i+1)}
	for _, row := range t.rows {
		narrower.Add(slices.Delete(slices.Clone(row), i, i+1)...)
	}
	return narrower
}

func (t *Table) widths() []int {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = len(c.Head)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	return widths
}

// total is the width of a row, with two spaces between cells.
func total(widths []int) int {
	sum := -2
	for _, w := range widths {
		sum += w + 2
	}
	return sum
}

// leastImportant is the column with the lowest priority; -1: none may be left
// out.
func (t *Table) leastImportant() int {
	least := -1
	for i, c := range t.Columns {
		if c.Priority > 0 && (least < 0 || c.Priority < t.Columns[least].Priority) {
			least = i
		}
	}
	return least
}

// write writes one row, without blanks at its end.
func (t *Table) write(b *strings.Builder, s Screen, widths []int, row []Cell) {
	var line strings.Builder
	gap := 0
	for i, c := range row {
		text := Truncate(c.Text, widths[i])
		fill := widths[i] - utf8.RuneCountInString(text)
		if t.Columns[i].Right {
			gap, fill = gap+fill, 0
		}
		if text != "" {
			line.WriteString(strings.Repeat(" ", gap))
			gap = 0
			if c.Color != "" {
				text = s.Paint(c.Color, text)
			}
			line.WriteString(text)
		}
		gap += fill + 2
	}
	b.WriteString(line.String() + "\n")
}
