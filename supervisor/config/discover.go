package config

import (
	"errors"
	"os"
	"path/filepath"
)

// Discovery is what Discover finds.
type Discovery struct {
	Path    string // of the configuration; empty: there is none
	Skipped []Problem
}

// Discover looks for the configuration if the command line names none: TIDEOVER_CONFIG,
// then ./tideover.toml, then $XDG_CONFIG_HOME/tideover/tideover.toml, then
// /etc/tideover/tideover.toml. The path in TIDEOVER_CONFIG is returned even if there is no
// such file, so that Load reports it. Root skips the second and the third if others can
// change the file, and has no XDG_CONFIG_HOME by default.
func Discover() Discovery {
	if path := os.Getenv("TIDEOVER_CONFIG"); path != "" {
		return Discovery{Path: path}
	}
	var found Discovery
	for _, path := range []string{"tideover.toml", userConfig()} {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if found.isTrusted(path) {
			found.Path = path
			return found
		}
	}
	shared := "/etc/tideover/tideover.toml"
	if info, err := os.Stat(shared); err == nil && info.Mode().IsRegular() {
		found.Path = shared
	}
	return found
}

// isTrusted adds a problem and returns false if root would be led to a file that others can
// change. Other faults are left to Load.
func (d *Discovery) isTrusted(path string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	f, err := openAsRoot(full)
	if err == nil {
		f.Close()
		return true
	}
	var untrusted *untrustedError
	if !errors.As(err, &untrusted) {
		return true
	}
	d.Skipped = append(d.Skipped, Problem{File: path, Untrusted: true, Warning: true,
		Message: "root does not use it: " + untrusted.message, Hint: untrusted.hint + "; -c FILE names another"})
	return false
}

// userConfig is the path of the user's own configuration; empty: there is none.
func userConfig() string {
	dir, err := os.UserConfigDir()
	if os.Geteuid() == 0 {
		dir = os.Getenv("XDG_CONFIG_HOME") // $HOME may be another user's, as with sudo -E
	}
	if err != nil || !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "tideover", "tideover.toml")
}
