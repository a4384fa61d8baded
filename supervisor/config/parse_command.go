package config

import (
	"errors"
	"fmt"

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
