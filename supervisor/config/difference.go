package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Texts are the two values as they would be written; empty: not set. Of the
// environment only the names are told, because values are often secrets: after
// says which came, went and changed.
func (d Difference) Texts() (before, after string) {
	if b, ok := d.Before.(map[string]string); ok {
		a, _ := d.After.(map[string]string)
		return "", variables(b, a)
	}
	return spell(d.Key.Path, d.Before), spell(d.Key.Path, d.After)
}

func variables(before, after map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		old, was := before[name]
		switch {
		case !was:
			words = append(words, name+" added")
		case old != after[name]:
			words = append(words, name+" changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, is := after[name]; !is {
			words = append(words, name+" removed")
		}
	}
	return strings.Join(words, ", ")
}

// spell writes a field's value as TOML.
func spell(key string, value any) string {
	switch v := value.(type) {
	case string:
		return quoted(v)
	case ReloadMode:
		return quoted(string(v))
	case RestartPolicy:
		return quoted(string(v))
	case []string:
		return spellList(v, strconv.Quote)
	case []int:
		return spellList(v, strconv.Itoa)
	case time.Duration:
		return quoted(spellDuration(v))
	case os.FileMode:
		return quoted(fmt.Sprintf("%#o", v))
	case Statuses:
		return quoted(v.String())
	case syscall.Signal:
		return quoted(strings.TrimPrefix(unix.SignalName(v), "SIG"))
	case int64:
		return quoted(spellSize(v))
	case *int:
		switch {
		case v == nil:
			return ""
		case key == "umask":
			return quoted(fmt.Sprintf("%#o", *v))
		}
		return strconv.Itoa(*v)
	}
	return fmt.Sprint(value)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func spellList[T any](all []T, each func(T) string) string {
	if len(all) == 0 {
		return ""
	}
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = each(one)
	}
	return "[" + strings.Join(words, ", ") + "]"
}
