package monitor

import (
	"strings"

	"golang.org/x/sys/unix"
)

// notify sends a message to systemd, which accepts those of the main process alone where
// NotifyAccess=main. It does not wait for a full queue.
func notify(socket, text string) error {
	if socket == "" {
		return unix.ENOENT
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:]
	}
	return unix.Sendto(fd, []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket})
}
