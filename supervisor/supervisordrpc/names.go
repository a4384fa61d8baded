package supervisordrpc

import "strings"

// SplitName parses GROUP:PROCESS, or NAME for both. process is empty for GROUP:* and GROUP:.
func SplitName(name string) (group, process string) {
	group, process, two := strings.Cut(name, ":")
	switch {
	case !two:
		return name, name
	case process == "*":
		return group, ""
	}
	return group, process
}

// JoinName is the name of a process, and GROUP:* if process is empty.
func JoinName(group, process string) string {
	switch {
	case group == process:
		return process
	case process == "":
		return group + ":*"
	}
	return group + ":" + process
}
