package daemon

import (
	"fmt"
	"strconv"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/safepath"
)

// writePidFile writes the pid of tideover. The file appears whole or not at all.
func writePidFile(path string, pid int) error {
	if err := (safepath.Opener{}).WriteFile(path, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		return &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("cannot write --pidfile: %v", err)}
	}
	return nil
}

// removePidFile removes the file unless another daemon has written it since.
func removePidFile(path string, pid int) {
	var files safepath.Opener
	content, err := files.ReadFile(path)
	if err == nil && strings.TrimSpace(string(content.Text)) == strconv.Itoa(pid) {
		files.RemoveFile(path)
	}
}
