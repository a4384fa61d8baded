package config

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Difference is a key with different values in two configurations.
type Difference struct {
	Key    Key
	Before any // the values of the field, of the type that it has in App or Daemon
	After  any
}

// Differences returns the keys with different values in two Apps, in the order of
// AppKeys. If listen is not set, it is the address found in the command.
func Differences(before, after *App) []Difference { return differences(appKeys(), before, after) }

func differences(keys []Key, before, after any) []Difference {
	var all []Difference
	for _, k := range keys {
		b := reflect.ValueOf(k.field(before)).Elem().Interface()
		a := reflect.ValueOf(k.field(after)).Elem().Interface()
		if !reflect.DeepEqual(b, a) {
			all = append(all, Difference{k, b, a})
		}
	}
	return all
}

// DaemonDifferences returns the keys of [daemon] with different values.
func DaemonDifferences(before, after *Daemon) []Difference {
	return differences(daemonKeys(), before, after)
}

// strongest returns the change that interrupts more.
func (c Change) strongest(other Change) Change {
	order := map[Change]int{Live: 1, Next: 2, Reopen: 3, Boot: 4}
	if cmp.Compare(order[c], order[other]) < 0 {
		return other
	}
	return c
}

// Strongest returns the change of all differences that interrupts most; "" if there
// are none.
func Strongest(all []Difference) Change {
	var most Change
	for _, d := range all {
		most = most.strongest(d.Key.Change)
	}
	return most
}

// Texts returns the two values as they would be written; an empty text means that
// the key is not set. The values of environment variables are often secrets, so
// for these before is empty and after says which names were added, removed or
// changed.
func (d Difference) Texts() (before, after string) {
	if b, ok := d.Before.(map[string]string); ok {
		a, _ := d.After.(map[string]string)
		return "", formatEnvChange(b, a)
	}
	return formatValue(d.Key.Path, d.Before), formatValue(d.Key.Path, d.After)
}

func formatEnvChange(before, after map[string]string) string {
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

// formatValue writes the value of a field as TOML.
func formatValue(key string, value any) string {
	switch v := value.(type) {
	case string:
		return quoted(v)
	case ReloadMode:
		return quoted(string(v))
	case RestartPolicy:
		return quoted(string(v))
	case []string:
		return formatList(v, strconv.Quote)
	case []int:
		return formatList(v, strconv.Itoa)
	case time.Duration:
		return quoted(formatDuration(v))
	case os.FileMode:
		return quoted(fmt.Sprintf("%#o", v))
	case Statuses:
		return quoted(v.String())
	case syscall.Signal:
		return quoted(strings.TrimPrefix(unix.SignalName(v), "SIG"))
	case int64:
		return quoted(FormatSize(v))
	case *int:
		switch {
		case v == nil:
			return ""
		case key == "umask":
			return quoted(fmt.Sprintf("%#o", *v))
		}
		return strconv.Itoa(*v)
	case *bool:
		if v == nil {
			return ""
		}
		return strconv.FormatBool(*v)
	}
	return fmt.Sprint(value)
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func formatList[T any](all []T, each func(T) string) string {
	if len(all) == 0 {
		return ""
	}
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = each(one)
	}
	return "[" + strings.Join(words, ", ") + "]"
}
