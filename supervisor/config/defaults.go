package config

import "github.com/BurntSushi/toml"

// newApp returns an App with all defaults.
func newApp(name string) *App {
	a := &App{Name: name, Limits: Limits{Core: -1}}
	setDefaults(appKeys(), a)
	return a
}

// DefaultDaemon returns the settings of a daemon without a configuration file.
func DefaultDaemon() (d Daemon) {
	setDefaults(daemonKeys(), &d)
	return d
}

// setDefaults sets the default of every key, as if it were written in a file. It
// panics if a default in the table is not valid.
func setDefaults(keys []Key, settings any) {
	for _, k := range keys {
		if k.Default == "" {
			continue
		}
		var value struct{ V any }
		if _, err := toml.Decode("V = "+k.Default, &value); err != nil {
			panic("config: default of " + k.Path + ": " + err.Error())
		}
		if err := k.set(settings, value.V); err != nil {
			panic("config: default of " + k.Path + ": " + err.Error())
		}
	}
}
