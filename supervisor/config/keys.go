package config

import (
	"slices"
	"strings"
)

// Change says when a new value takes effect.
type Change string

const (
	Live   Change = "live"   // at once
	Next   Change = "reload" // with the next generation
	Reopen Change = "listen" // when the public socket is opened again
	Boot   Change = "boot"   // when tideover is started again
)

// Key describes one key. Loading, the list of unknown keys, the difference of two
// configurations and the documentation are all derived from it.
type Key struct {
	Path    string // "hold.timeout"
	Type    string
	Default string // as TOML; empty: none
	Change  Change
	Meaning string
	Values  []Choice // of a key with a few values

	schema schema               // the values that it accepts
	field  func(any) any        // returns a pointer to the field of an *App, *Daemon or *Fleet
	set    func(any, any) error // sets the field of an *App, *Daemon or *Fleet from a decoded TOML value
}

// Choice is one of the values of a key with a few values.
type Choice struct {
	Value   string // as TOML
	Meaning string
}

// values adds what each value of a key of type oneOf means, in its order.
func (k Key) values(meanings ...string) Key {
	choices, _, _ := strings.Cut(k.Type, ",")
	for i, value := range strings.Split(choices, " or ") {
		k.Values = append(k.Values, Choice{value, meanings[i]})
	}
	return k
}

// AppKeys lists the keys of [app.NAME] and [defaults], in order.
func AppKeys() []Key { return appKeys() }

// DaemonKeys lists the keys of [daemon], in order.
func DaemonKeys() []Key { return daemonKeys() }

// key returns the Key for the field that at points to. S is App, Daemon or Fleet, T the
// type of the field.
func key[S, T any](path string, k valueType[T], def string, change Change, at func(*S) *T, meaning string) Key {
	return Key{
		Path: path, Type: k.name, Default: def, Change: change, Meaning: meaning, schema: k.schema,
		field: func(s any) any { return at(s.(*S)) },
		set: func(s, value any) error {
			v, err := k.read(value)
			if err == nil {
				*at(s.(*S)) = v
			}
			return err
		},
	}
}

// keyAt returns the key with a path.
func keyAt(keys []Key, path string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == path })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}
