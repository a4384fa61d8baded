package config

import (
	"errors"
	"slices"
	"strings"
)

// Placeholder is a word in braces by which a command that is not gunicorn
// asks for its private socket.
type Placeholder string

const (
	FD     Placeholder = "{fd}"     // number of the inherited listening socket
	Socket Placeholder = "{socket}" // path of a unix socket the command makes itself
	Port   Placeholder = "{port}"   // TCP port on 127.0.0.1 the command binds itself
)

// Placeholders returns which ones argv contains, in the order above.
func Placeholders(argv []string) []Placeholder {
	var found []Placeholder
	for _, p := range []Placeholder{FD, Socket, Port} {
		if slices.ContainsFunc(argv, func(word string) bool { return strings.Contains(word, string(p)) }) {
			found = append(found, p)
		}
	}
	return found
}

// checkPlaceholders refuses a command that asks for two private sockets.
func checkPlaceholders(argv []string) error {
	if len(Placeholders(argv)) > 1 {
		return errors.New("use only one of {fd}, {socket} and {port}: there is one private socket")
	}
	return nil
}

// Substitute returns argv with the placeholder replaced by value.
func Substitute(argv []string, p Placeholder, value string) []string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = strings.ReplaceAll(word, string(p), value)
	}
	return words
}
