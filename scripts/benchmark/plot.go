package main

import (
	"fmt"
	"strings"
)

// shades are the colours of the bars, tideover's first.
var shades = map[string]string{"tideover": "#0b7285", "nginx": "#adb5bd", "haproxy": "#868e96", "caddy": "#ced4da", "apache": "#dee2e6"}

const (
	plotWidth = 760
	barHeight = 14
	barLeft   = 210
	barRoom   = 470 // for a bar as long as the longest shown
	longest   = 3.0 // times the best; longer bars are cut off and say so
)

// plot draws the first ratio of each table that has one: a bar for each server, shorter is cheaper.
func (r *report) plot() string {
	var b strings.Builder
	y := 30
	line := func(x int, style, text string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y+11, style, text)
	}
	for _, t := range r.tables {
		best, found := t.best(0)
		if !found || t.columns[0].better == higher {
			continue
		}
		title, _, _ := strings.Cut(t.title, ";")
		line(10, `font-weight="bold"`, title)
		y += barHeight + 6
		for _, name := range t.names {
			v, ok := t.median(name, 0)
			if !ok {
				continue
			}
			kind, _, _ := strings.Cut(name, "-")
			shade := shades[kind]
			line(barLeft-8, `text-anchor="end"`, name)
			width := int(min(v/best, longest) / longest * barRoom)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", barLeft, y, width, barHeight-2, shade)
			line(barLeft+width+6, "", fmt.Sprintf("%.2f", v/best))
			y += barHeight + 2
		}
		y += 10
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n"+
		`<text x="10" y="18" font-size="14">CPU compared with the best of nginx and HAProxy = 1 (shorter is cheaper)</text>`+"\n", plotWidth, y+10)
	return head + b.String() + "</svg>\n"
}
