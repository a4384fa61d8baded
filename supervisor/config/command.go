package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tideover/supervisor/shellwords"
)

// ParseCommand splits a command that is written as one text. No shell runs it, so
// syntax that only a shell would interpret is an error.
func ParseCommand(text string) ([]string, error) {
	words, syntax, err := shellwords.Parse(text)
	if err == nil && syntax != "" {
		err = fmt.Errorf("%s needs a shell, and none is used: quote it, or write command = [\"sh\", \"-c\", \"exec ...\"]", syntax)
	}
	if err == nil && len(words) == 0 {
		err = errors.New("the command is empty")
	}
	return words, err
}

// Placeholder is a word in braces in a command that is not gunicorn. It is replaced
// by what the command needs to serve on its private socket.
type Placeholder string

const (
	FD     Placeholder = "{fd}"     // number of the inherited listening socket
	Socket Placeholder = "{socket}" // path of a unix socket the command makes itself
	Port   Placeholder = "{port}"   // TCP port on 127.0.0.1 the command binds itself
)

// Placeholders returns the placeholders that argv contains, in the order above.
func Placeholders(argv []string) []Placeholder {
	var found []Placeholder
	for _, p := range []Placeholder{FD, Socket, Port} {
		if slices.ContainsFunc(argv, func(word string) bool { return strings.Contains(word, string(p)) }) {
			found = append(found, p)
		}
	}
	return found
}

// checkPlaceholders refuses a command with two different placeholders.
func checkPlaceholders(argv []string) error {
	if len(Placeholders(argv)) > 1 {
		return errors.New("use only one of {fd}, {socket} and {port}: there is one private socket")
	}
	return nil
}

// Substitute returns argv with a placeholder replaced by value.
func Substitute(argv []string, p Placeholder, value string) []string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = strings.ReplaceAll(word, string(p), value)
	}
	return words
}
