package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// setting is one line of a unit.
type setting struct {
	value string
	line  int
}

// units checks the units of systemd that run tideover with this configuration.
func (x *examination) units() {
	for _, pattern := range x.Units {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err == nil {
				x.unit(path, readUnit(string(text)))
			}
		}
	}
}

// readUnit returns the last value of each setting of [Service].
func readUnit(text string) map[string]setting {
	all, section, n := map[string]setting{}, "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		name, value, ok := strings.Cut(line, "=")
		if ok && section == "[Service]" && !strings.HasPrefix(line, "#") {
			all[strings.TrimSpace(name)] = setting{strings.TrimSpace(value), n}
		}
	}
	return all
}

func (x *examination) unit(path string, u map[string]setting) {
	start := u["ExecStart"].value
	words := strings.Fields(strings.TrimLeft(start, "-@:+!"))
	if len(words) < 2 || filepath.Base(words[0]) != "tideover" || words[1] != "run" || !strings.Contains(start+" ", x.File.Path+" ") {
		return
	}
	add := func(name, remedy, format string, args ...any) {
		place := path
		if s, ok := u[name]; ok {
			place = fmt.Sprintf("%s:%d", path, s.line)
		}
		x.add(Finding{Check: "systemd", Place: place, Message: fmt.Sprintf(format, args...), Remedy: remedy + "; then systemctl daemon-reload"})
	}
	if mode := u["KillMode"].value; mode != "mixed" && mode != "process" {
		add("KillMode", "KillMode=mixed", "systemd sends TERM to the processes of the apps, too: their requests are lost at a stop")
	}
	if kind := u["Type"].value; kind != "notify" && kind != "notify-reload" {
		add("Type", "Type=notify", "systemd does not know when the apps answer")
	}
	if u["ExecReload"].value == "" && u["Type"].value != "notify-reload" {
		add("ExecReload", "ExecReload="+words[0]+" reload --all", "systemctl reload does not work")
	}
	if delegate := u["Delegate"].value; delegate != "yes" && delegate != "true" {
		add("Delegate", "Delegate=yes", "the apps have no cgroup of their own: a process that leaves its session may stay behind")
	}
	longest := time.Duration(0)
	for _, a := range x.File.Apps {
		longest = max(longest, a.Drain.Timeout+a.Stop.Timeout)
	}
	limit := 90 * time.Second // DefaultTimeoutStopSec
	if s := u["TimeoutStopSec"]; s.value != "" {
		limit = systemdTime(s.value)
	}
	if limit > 0 && limit < longest {
		add("TimeoutStopSec", fmt.Sprintf("TimeoutStopSec=%d", int(longest.Seconds())+25),
			"systemd kills after %v, and the slowest app may take %v to drain and stop", limit, longest)
	}
}

// systemdTime is a time of systemd: "90", "90s", "2min", "1min 30s"; 0: infinity, or unknown.
func systemdTime(text string) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(seconds) * time.Second
	}
	replaced := strings.NewReplacer("minutes", "m", "min", "m", "seconds", "s", "sec", "s", "hours", "h", "hr", "h", " ", "").Replace(text)
	d, err := time.ParseDuration(replaced)
	if err != nil {
		return 0
	}
	return d
}
