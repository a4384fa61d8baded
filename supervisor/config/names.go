package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"tideover/supervisor/lazyregexp"
)

var nameText = lazyregexp.New(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func checkName(s string) error {
	if !nameText.MatchString(s) {
		return fmt.Errorf("%q is not a name: it has 1 to 32 of a-z, 0-9, - and _, and begins with a letter or digit", s)
	}
	if s == "all" {
		return errors.New(`"all" is what commands call every app; it cannot be the name of one`)
	}
	return nil
}

// defaultName makes the name of an app from the name of its directory. "current" is
// what many deployment tools call the release directory, so its parent counts.
func defaultName(directory string) string {
	base := filepath.Base(directory)
	if base == "current" {
		base = filepath.Base(filepath.Dir(directory))
	}
	return ValidName(base)
}

// ValidName makes a valid name of an app from any text.
func ValidName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && nameText.MatchString("a"+string(r)) {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	name = strings.Trim(name, "-_")
	if len(name) > 32 {
		name = strings.TrimRight(name[:32], "-_")
	}
	if name == "" {
		return "app"
	}
	return name
}
