package config

import (
	"os"
	"path/filepath"
)

// Discover returns the path of the configuration if the command line names none:
// TIDEOVER_CONFIG, then ./tideover.toml, then
// $XDG_CONFIG_HOME/tideover/tideover.toml unless the user is root, then
// /etc/tideover/tideover.toml. The path in TIDEOVER_CONFIG is returned even if
// there is no such file, so that Load reports it.
func Discover() (path string, ok bool) {
	if path := os.Getenv("TIDEOVER_CONFIG"); path != "" {
		return path, true
	}
	candidates := []string{"tideover.toml"}
	if dir, err := os.UserConfigDir(); err == nil && os.Geteuid() != 0 {
		candidates = append(candidates, filepath.Join(dir, "tideover", "tideover.toml"))
	}
	for _, path := range append(candidates, "/etc/tideover/tideover.toml") {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}
