package api

import (
	"errors"
	"fmt"
	"strings"
)

// MaxRevision is the length of a revision at most.
const MaxRevision = 64

// CheckRevision returns an error unless text can be a revision. Hooks and deploy scripts put a
// revision into commands and paths, and terminals show it: it is one word without quotes, it begins
// with a letter or a digit, and it leads out of no directory.
func CheckRevision(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	if len(text) > MaxRevision {
		return fmt.Errorf("it is longer than %d characters", MaxRevision)
	}
	for i := range len(text) {
		c := text[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		switch {
		case alphanumeric:
		case i == 0:
			return errors.New("it does not begin with a letter or a digit")
		case !strings.ContainsRune("._-+/:@~=,#", rune(c)):
			return fmt.Errorf("it contains %q; letters, digits and ._-+/:@~=,# are allowed", c)
		}
	}
	if strings.Contains(text, "..") {
		return errors.New(`it contains ".."`)
	}
	return nil
}
