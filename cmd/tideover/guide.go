package main

import (
	_ "embed"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// guide is the page of tideover(7), in Markdown.
//
//go:embed guide.md
var guide string

// guideManPage is tideover(7).
func guideManPage(date string) string {
	m := newManPage("TIDEOVER", 7, date, "tideover \\- how tideover behaves, topic by topic")
	_, text, _ := strings.Cut(guide, "\n")
	m.section("DESCRIPTION")
	m.markdown(text)
	m.seeAlso("tideover(1), tideover.toml(5)")
	return m.String()
}

// markdown writes the part of Markdown that the guide is written in: headings of the second level,
// paragraphs, lists of one level, tables and code between fences.
func (m *manPage) markdown(text string) {
	for block := range strings.SplitSeq(strings.Trim(joinFences(text), "\n"), "\n\n") {
		block = strings.Trim(block, "\n")
		switch {
		case block == "":
		case strings.HasPrefix(block, "## "):
			m.section(escapeRoff(strings.ToUpper(strings.TrimPrefix(block, "## "))))
		case strings.HasPrefix(block, "```"):
			_, code, _ := strings.Cut(strings.TrimSuffix(block, "```"), "\n")
			m.paragraph()
			m.raw(".nf\n" + escapeRoff(strings.TrimRight(strings.ReplaceAll(code, fenceBlank, ""), "\n")) + "\n.fi\n")
		case strings.HasPrefix(block, "|"):
			m.table(strings.Split(block, "\n"))
		case strings.HasPrefix(block, "- "):
			for item := range strings.SplitSeq(strings.TrimPrefix(block, "- "), "\n- ") {
				m.raw(".IP \\(bu 2\n")
				m.lines(plainMarkdown(item))
			}
		default:
			m.paragraph()
			m.lines(plainMarkdown(block))
		}
	}
}

// table writes a term for each row, and what the other columns say of it, each with its heading.
func (m *manPage) table(rows []string) {
	heads := tableCells(rows[0])
	for _, row := range rows[2:] {
		cells := tableCells(row)
		var texts []string
		for i, cell := range cells[1:] {
			if head := heads[i+1]; cell != "" && head != "" {
				cell = head + ": " + cell
			}
			if cell != "" {
				texts = append(texts, strings.TrimSuffix(cell, ".")+".")
			}
		}
		m.entry(cells[0], strings.Join(texts, " "))
	}
}

func tableCells(row string) []string {
	cells := strings.Split(strings.Trim(row, "|"), "|")
	for i, cell := range cells {
		cells[i] = plainMarkdown(strings.TrimSpace(cell))
	}
	return cells
}

// fenceBlank stands for an empty line between fences, which would end a block.
const fenceBlank = "\x00"

func joinFences(text string) string {
	fenced := false
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced && line == "" {
			line = fenceBlank
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

var (
	markdownLink = lazyregexp.New(`\[([^\]]+)\]\(([^)]*)\)`)
	notASCII     = strings.NewReplacer("µ", "u", "×", "x", "–", "-")
)

// plainMarkdown is text without the marks of links, code and emphasis.
func plainMarkdown(text string) string {
	text = markdownLink.ReplaceAllString(text, "$1")
	return notASCII.Replace(strings.NewReplacer("**", "", "`", "", "*and*", "and").Replace(text))
}
