package config

import (
	"cmp"
	"reflect"
)

// Change is what it takes until a new value is in effect.
type Change string

const (
	Live   Change = "live"   // at once
	Next   Change = "reload" // from the next generation on
	Reopen Change = "listen" // the public socket is opened anew
	Boot   Change = "boot"   // when tideover itself is started again
)

// Key is one line of a table of settings, of which everything that is said
// about a key is derived.
type Key struct {
	Path    string // "hold.timeout"
	Type    string
	Default string // as TOML; empty: none
	Change  Change
	Meaning string

	field func(any) any        // pointer to the field, of an *App or *Daemon
	set   func(any, any) error // gives an *App or *Daemon a TOML value
}

// AppKeys lists the keys of [app.NAME] and [defaults], in order.
func AppKeys() []Key { return appKeys }

// DaemonKeys lists the keys of [daemon], in order.
func DaemonKeys() []Key { return daemonKeys }

// key is one entry of the table for settings of type S: its value is of type T
// and belongs into the field at.
func key[S, T any](path string, k kind[T], def string, change Change, at func(*S) *T, meaning string) Key {
	return Key{
		Path: path, Type: k.name, Default: def, Change: change, Meaning: meaning,
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

// Difference is one setting that differs between two versions of an app.
type Difference struct {
	Key    Key
	Before any // the field's values, typed as in App
	After  any
}

// Differences lists what is different between two Apps, in the order of the
// keys. Where listen is not written, the address found in the command counts.
func Differences(before, after *App) []Difference { return differences(appKeys, before, after) }

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

// DaemonDifferences lists the keys of [daemon] that are different.
func DaemonDifferences(before, after *Daemon) []Difference {
	return differences(daemonKeys, before, after)
}

// strongest orders what a change takes.
func (c Change) strongest(other Change) Change {
	order := map[Change]int{Live: 1, Next: 2, Reopen: 3, Boot: 4}
	if cmp.Compare(order[c], order[other]) < 0 {
		return other
	}
	return c
}

// Takes is the most that any of the differences takes; "" if there are none.
func Takes(all []Difference) Change {
	var most Change
	for _, d := range all {
		most = most.strongest(d.Key.Change)
	}
	return most
}
