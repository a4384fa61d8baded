package httpgen

import "fmt"

// long is close to one of the bounds of the source.
func long(d *draft) {
	line, head := d.source.Line, d.source.Head-1500 // the rest is for the other fields and those that front-ends add
	d.target = "/" + d.lowercase(20)
	add := func(name, value string) { d.add(name, value[:min(len(value), line-len(name)-2)]) }
	switch d.IntN(4) {
	case 0: // one line
		add("Cookie", d.cookies(min(line-len("Cookie: "), head)))
	case 1: // the target
		d.target = "/search?q=" + d.word(min(line, head)-len("GET /search?q= HTTP/1.1"), queryChars)
	case 2: // many lines
		for i := range d.source.Fields - 14 {
			d.add(fmt.Sprintf("X-Field-%d", i), d.lowercase(20))
		}
	default: // the head as a whole
		for head > 0 && len(d.fields) < d.source.Fields-10 {
			n := min(line, head)
			add(pick(d, "X-Token", "X-State", "X-Amz-Security-Token", "Referer", "Authorization"), d.word(n, urlSafe))
			head -= n + 40
		}
	}
	d.maybe("User-Agent", chromeAgent)
}
