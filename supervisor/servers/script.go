package servers

import (
	"strings"
)

// rawScript is the last command of a shell script, in the words as they are written.
type rawScript struct {
	words  []string
	starts []int // of the words in the script
	end    int   // of the last word
	simple bool  // it has no pipe, no redirection, no substitution of a command
}

// rawWords splits the last command of a script into its words. Quotes and variables stay.
func rawWords(script string) rawScript {
	r := rawScript{simple: true}
	start, quote := -1, byte(0)
	end := func(i int) {
		if start >= 0 {
			r.words, r.starts, r.end = append(r.words, script[start:i]), append(r.starts, start), i
		}
		start = -1
	}
	for i := 0; i < len(script); i++ {
		c := script[i]
		if c == '`' && quote != '\'' || strings.HasPrefix(script[i:], "$(") && quote != '\'' {
			r.simple = false
		}
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else if c == '\\' && quote == '"' {
				i++
			}
			continue
		case c == ' ' || c == '\t' || c == '\n' && continues(script, i):
			end(i)
			continue
		case c == ';' || c == '\n' || strings.HasPrefix(script[i:], "&&"):
			end(i)
			if strings.Trim(script[i:], "; \t\n") != "" {
				r = rawScript{simple: true}
			}
			if c == '&' {
				i++
			}
			continue
		case strings.IndexByte("|<>&()", c) >= 0:
			r.simple = false
		case c == '\'' || c == '"':
			quote = c
		}
		if start < 0 {
			start = i
		}
		if c == '\\' {
			i++
		}
	}
	end(len(script))
	return r
}

// continues reports whether the line feed at i is escaped.
func continues(script string, i int) bool { return i > 0 && script[i-1] == '\\' }
