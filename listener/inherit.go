//go:build linux

package listener

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstInherited is SD_LISTEN_FDS_START.
const firstInherited = 3

// Inherited takes the descriptors that a service manager has passed (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES),
// by name, in their order; those without a name are "unknown". The variables are removed from the environment and the
// descriptors made close-on-exec, so that no child takes them for its own. Descriptors meant for another process are left
// alone. The caller owns the files. Call it once, before any child is started.
func Inherited() (map[string][]*os.File, error) {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	count, err := strconv.ParseUint(fds, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a number of descriptors", fds)
	}
	var named []string
	if names != "" {
		if named = strings.Split(names, ":"); len(named) != int(count) {
			return nil, fmt.Errorf("LISTEN_FDNAMES has %d names for LISTEN_FDS=%d descriptors", len(named), count)
		}
	}
	files := map[string][]*os.File{}
	for i := range int(count) {
		name := "unknown"
		if named != nil && named[i] != "" {
			name = named[i]
		}
		fd := firstInherited + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d is not open", count, fd)
		}
		files[name] = append(files[name], os.NewFile(uintptr(fd), name))
	}
	return files, nil
}
