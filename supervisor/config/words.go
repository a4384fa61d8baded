package config

import (
	"errors"
	"fmt"
	"strings"
)

// SplitWords cuts text into words as Python's shlex.split and a POSIX shell
// do: at blanks, with '...', "..." and backslash. Nothing is expanded.
//
// It is our own because it has to read GUNICORN_CMD_ARGS exactly as gunicorn
// does. go-shellwords was tried: it turns \n outside quotes into a line feed,
// stops silently at the first ; and refuses ( where shlex takes it.
func SplitWords(text string) ([]string, error) {
	words, _, err := scanWords(text)
	return words, err
}

// commandWords splits a command that the user may believe to be run by a
// shell. What only a shell could do is an error.
func commandWords(text string) ([]string, error) {
	words, shell, err := scanWords(text)
	if err == nil && shell != "" {
		err = fmt.Errorf("%s needs a shell, and none is used: quote it, or write command = [\"sh\", \"-c\", \"exec ...\"]", shell)
	}
	if err == nil && len(words) == 0 {
		err = errors.New("the command is empty")
	}
	return words, err
}

// scanWords also returns the first thing that would mean something to a shell.
func scanWords(text string) (words []string, shell string, err error) {
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
			if shell == "" {
				shell = shellMeaning(text[i:], quote, inWord)
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
	return words, shell, nil
}

// shellMeaning names what a shell would see at the beginning of text.
func shellMeaning(text string, quote rune, inWord bool) string {
	if quote == '\'' {
		return ""
	}
	if text[0] == '`' {
		return "`"
	}
	if text[0] == '$' && len(text) > 1 && (text[1] == '(' || text[1] == '{' || isName(text[1])) {
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

func isName(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// restOfName is what belongs to $NAME behind its first letter.
func restOfName(text string, first byte) string {
	end := 0
	for end < len(text) && isName(first) && (isName(text[end]) || '0' <= text[end] && text[end] <= '9') {
		end++
	}
	return text[:end]
}
