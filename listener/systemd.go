package listener

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listenFDsStart is SD_LISTEN_FDS_START of sd_listen_fds(3).
const listenFDsStart = 3

// SystemdSockets returns the descriptors that a service manager has passed by
// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)), by name and in their
// order; one without a name is "unknown". It removes these variables from the
// environment and makes the descriptors close-on-exec, so that children do not use
// them. If LISTEN_PID is another process, it returns none. The caller owns the files.
// It must be called once, before the first child is started.
func SystemdSockets() (map[string][]*os.File, error) {
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
		fd := listenFDsStart + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d is not open", count, fd)
		}
		files[name] = append(files[name], os.NewFile(uintptr(fd), name))
	}
	return files, nil
}
