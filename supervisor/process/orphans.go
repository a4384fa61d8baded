package process

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"strings"
)

// RolePrefix begins argv[0] of the processes of a daemon that parse, such as "tideover: relay".
const RolePrefix = "tideover: "

// AwaitOrphans waits until the processes of daemons that have died are gone: they end at the end of
// the channel to their daemon, which is shortly after its death, and have its sockets until then.
// found gets the pids. It reports whether there was one, also when ctx has ended before it.
func AwaitOrphans(ctx context.Context, found func(pids []int)) bool {
	return awaitOrphans(ctx, orphans(), found)
}

func awaitOrphans(ctx context.Context, all []stat, found func(pids []int)) bool {
	if len(all) == 0 {
		return false
	}
	found(pids(all))
	awaitAll(ctx, all) // after an error what is wanted may be free all the same
	return true
}

// orphans are the processes of daemons that have died, as far as they are visible.
func orphans() (found []stat) {
	all, _ := listProcesses()
	for _, s := range all {
		if s.alive() && hasRole(s.pid) && !hasDaemon(s) {
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

// hasDaemon reports whether the parent of a process executes the same program, as a daemon does. As an
// ordinary user the program of a confined process is not visible: it is taken for this one.
func hasDaemon(s stat) bool {
	parent := programOf(strconv.Itoa(s.parent))
	program := cmp.Or(programOf(strconv.Itoa(s.pid)), programOf("self"))
	return parent != "" && parent == program
}

// programOf is the path of the file that a process executes, also where it was replaced since; empty:
// it is not visible.
func programOf(pid string) string {
	path, err := os.Readlink("/proc/" + pid + "/exe")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}
