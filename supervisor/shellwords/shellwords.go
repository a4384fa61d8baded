// Package shellwords splits a text into words as a POSIX shell and Python's
// shlex.split do. Nothing is expanded, and no shell is run.
package shellwords

import (
	"errors"
	"fmt"
	"strings"
)

// Split splits text at blanks, tabs and line ends. Single quotes, double quotes
// and backslashes quote as in a POSIX shell.
//
// This is not done by github.com/mattn/go-shellwords, because the result must be
// what gunicorn makes of GUNICORN_CMD_ARGS: that library turns \n outside quotes
// into a line feed, stops silently at the first ";" and refuses "(".
func Split(text string) ([]string, error) {
	words, _, err := Parse(text)
	return words, err
}

// Parse splits text like Split. It also returns the first construct that a shell
// would interpret and that Split leaves as it is: "&&", "$PORT", "~". The empty
// string means that there is none.
func Parse(text string) (words []string, syntax string, err error) {
	var word strings.Builder
	inWord, quote, escaped := false, rune(0), false
	for i, r := range text {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			inWord, escaped = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			inWord, quote = true, r
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			if syntax == "" {
				syntax = shellSyntax(text[i:], quote, inWord)
			}
			inWord = true
			word.WriteRune(r)
		}
	}
	switch {
	case quote != 0:
		return nil, "", fmt.Errorf("a %c is not closed", quote)
	case escaped:
		return nil, "", errors.New("nothing follows the last backslash")
	case inWord:
		words = append(words, word.String())
	}
	return words, syntax, nil
}

// shellSyntax returns the construct at the beginning of text that a shell would
// interpret, or "". quote is the quote around it, or 0.
func shellSyntax(text string, quote rune, inWord bool) string {
	if quote == '\'' {
		return ""
	}
	if text[0] == '`' {
		return "`"
	}
	if text[0] == '$' && len(text) > 1 && (text[1] == '(' || text[1] == '{' || isNameStart(text[1])) {
		return text[:2] + restOfName(text[2:], text[1])
	}
	if quote == '"' {
		return ""
	}
	for _, operator := range []string{"&&", "||", "|", ";", "&", ">", "<"} {
		if strings.HasPrefix(text, operator) {
			return operator
		}
	}
	if !inWord && strings.HasPrefix(text, "~/") {
		return "~"
	}
	return ""
}

// isNameStart reports whether c can begin the name of a variable.
func isNameStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// restOfName returns what belongs to $NAME behind the first letter of NAME.
func restOfName(text string, first byte) string {
	end := 0
	for end < len(text) && isNameStart(first) && (isNameStart(text[end]) || '0' <= text[end] && text[end] <= '9') {
		end++
	}
	return text[:end]
}
