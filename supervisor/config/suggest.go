package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Nearest returns the candidate that is closest to word, or "" if none is close:
// at most three letters, and at most a third of word, may be missing, added, wrong or
// swapped.
func Nearest[T ~string](word string, candidates []T) T {
	var best T
	bound := min(3, (len(word)+2)/3)
	for _, c := range candidates {
		if difference := utf8.RuneCountInString(word) - utf8.RuneCountInString(string(c)); difference > bound || -difference > bound {
			continue
		}
		if d := editDistance(word, string(c)); d <= bound && string(c) != word {
			best, bound = c, d-1
		}
	}
	return best
}

// editDistance returns the number of letters to insert, remove, replace or swap with
// their neighbour to turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, previous, current := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(x); i++ {
		current[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(y)]
}

// foreignKeys maps names of settings in other programs to keys.
var foreignKeys = map[string]string{
	"address": "listen", "bind": "listen", "port": "listen", "socket": "listen",
	"args": "command", "cmd": "command", "exec": "command", "program": "command", "run": "command",
	"chdir": "directory", "cwd": "directory", "dir": "directory", "path": "directory", "root": "directory", "working_dir": "directory",
	"environment": "env", "environ": "env", "envfile": "env_file", "dotenv": "env_file",
	"autorestart": "restart", "restart_policy": "restart", "exitcodes": "exit_codes", "numprocs": "instances", "processes": "instances",
	"priority": "after", "depends_on": "after", "requires": "after", "group_name": "labels", "startsecs": "ready.after",
	"stopsignal": "stop.signal", "stopwaitsecs": "stop.timeout", "stop_grace_period": "stop.timeout", "kill_timeout": "stop.timeout",
	"stdout_logfile": "log.file", "stderr_logfile": "log.file", "logfile": "log.file",
	"stdout_logfile_maxbytes": "log.max_size", "stdout_logfile_backups": "log.backups",
	"healthcheck": "ready.path", "health": "ready.path", "probe": "ready.path", "probe.path": "ready.path", "ready.url": "ready.path",
	"probe.expect": "ready.status", "probe.timeout": "ready.timeout", "ready.expect": "ready.status", "ready.deadline": "ready.timeout",
	"hold.max_requests": "hold.limit", "hold.max": "hold.limit", "max_body": "limits.body", "nofile": "limits.nofile", "minfds": "limits.nofile",
	"watch.touch": "watch.files", "watch.paths": "watch.files", "strategy": "reload", "mode": "listen_mode",
}

// unknownKeyError returns the error for a key that is not in the table.
func unknownKeyError(r reading, full string) error {
	message := fmt.Sprintf("unknown key %q in %s", full, r.scope)
	if near := Nearest(full, sections(r.keys)); near != "" {
		return &hintedError{message, fmt.Sprintf("did you mean %s?", near)}
	}
	if known := suggestKey(full, r.keys); known != "" {
		return &hintedError{message, fmt.Sprintf("did you mean %s?", known)}
	}
	return errors.New(message)
}

// suggestKey returns the key that was probably meant: the name itself, the key that
// another program calls so, a key with a similar spelling, or the only key of that
// name in any section. It returns "" if there is none.
func suggestKey(name string, keys []Key) string {
	var paths []string
	for _, k := range keys {
		paths = append(paths, k.Path)
	}
	if slices.Contains(paths, name) {
		return name
	}
	if ours := foreignKeys[strings.ToLower(name)]; slices.Contains(paths, ours) {
		return ours
	}
	spellings := slices.Clone(paths)
	for theirs, ours := range foreignKeys {
		if slices.Contains(paths, ours) {
			spellings = append(spellings, theirs)
		}
	}
	slices.Sort(spellings[len(paths):])
	if near := Nearest(name, spellings); near != "" {
		return cmp.Or(foreignKeys[near], near)
	}
	return onlyKeyNamed(name, paths)
}

// sections returns the names of the tables that hold keys.
func sections(keys []Key) (all []string) {
	for _, k := range keys {
		if name, _, ok := strings.Cut(k.Path, "."); ok && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// onlyKeyNamed returns the key with this name in any section, if there is only one.
func onlyKeyNamed(name string, paths []string) string {
	var found []string
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, p := range paths {
		if p == last || strings.HasSuffix(p, "."+last) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// SimilarKey returns the key, of an app, of [daemon] or of [fleet], with a path that is similar or a name in
// another program; "": none.
func SimilarKey(path string) string {
	return cmp.Or(suggestKey(path, appKeys()), suggestKey(strings.TrimPrefix(path, "daemon."), daemonKeys()), suggestKey(strings.TrimPrefix(path, "fleet."), fleetKeys()))
}
