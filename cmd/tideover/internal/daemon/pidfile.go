package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"tideover/supervisor/api"
	"tideover/supervisor/safepath"
)

// writePidFile writes the pid of this process. The file appears whole or not at all.
func writePidFile(path string) error {
	if err := (safepath.Opener{}).WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return &api.Error{Exit: api.ExitError, Message: fmt.Sprintf("cannot write --pidfile: %v", err)}
	}
	return nil
}

// removePidFile removes the file unless another daemon has written it since.
func removePidFile(path string) {
	var files safepath.Opener
	content, err := files.ReadFile(path)
	if err == nil && strings.TrimSpace(string(content.Text)) == strconv.Itoa(os.Getpid()) {
		files.RemoveFile(path)
	}
}
