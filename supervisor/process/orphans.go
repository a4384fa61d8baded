package process

import (
	"context"
	"os"
	"strconv"
	"strings"
)

// RolePrefix begins argv[0] of the processes of a daemon that parse, such as "tideover: relay".
const RolePrefix = "tideover: "

// AwaitOrphans waits until the processes of daemons that have died are gone: they end at the end of
// the channel to their daemon, which is shortly after its death, and have its sockets until then.
// found gets the pids. The result is false when there is none, and when ctx ends before them.
func AwaitOrphans(ctx context.Context, found func(pids []int)) bool {
	return awaitOrphans(ctx, orphans(), found)
}

func awaitOrphans(ctx context.Context, all []stat, found func(pids []int)) bool {
	if len(all) == 0 {
		return false
	}
	found(pids(all))
	return awaitAll(ctx, all) == nil
}

// orphans are the processes of daemons that have died, as far as they are visible.
func orphans() (found []stat) {
	all, _ := listProcesses()
	for _, s := range all {
		if s.alive() && hasRole(s.pid) && !isOwnProgram(s.parent) {
			found = append(found, s)
		}
	}
	return found
}

// hasRole reports whether argv[0] of a process begins with RolePrefix.
func hasRole(pid int) bool {
	var buffer [len(RolePrefix)]byte
	line, err := readProc(pid, "cmdline", buffer[:])
	return err == nil && string(line) == RolePrefix
}

// isOwnProgram reports whether a process executes the program of this one, also where its file was
// replaced since.
func isOwnProgram(pid int) bool {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	own, ownErr := os.Readlink("/proc/self/exe")
	return err == nil && ownErr == nil && strings.TrimSuffix(theirs, " (deleted)") == strings.TrimSuffix(own, " (deleted)")
}
