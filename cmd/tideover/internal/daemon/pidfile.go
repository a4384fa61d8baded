package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"tideover/supervisor/api"
)

// writePidFile writes the pid of this process. The rename makes the file appear
// whole or not at all.
func writePidFile(path string) error {
	fresh := path + ".new"
	err := os.WriteFile(fresh, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("cannot write --pidfile: %v", err)}
	}
	return nil
}

// removePidFile removes the file unless another daemon has written it since.
func removePidFile(path string) {
	content, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(content)) == strconv.Itoa(os.Getpid()) {
		os.Remove(path)
	}
}
