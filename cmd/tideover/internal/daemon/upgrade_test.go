package daemon

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

func TestOnlyAScriptIsCalledAScript(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path, message string // "": none
		cause         error
	}{
		{"/proc/self/exe", "", nil},
		{write("script", "#!/bin/sh\n"), "is a script", nil},
		{write("empty", ""), "cannot read the new tideover: ", io.EOF},
		{dir, "cannot read the new tideover: ", unix.EISDIR},
	} {
		program, err := os.Open(c.path)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		err = checkNoScript(program)
		if c.message == "" {
			if err != nil {
				t.Errorf("%s: %v", c.path, err)
			}
			continue
		}
		var e *api.Error
		if !errors.As(err, &e) || e.Exit != api.ExitKeptOld || !strings.Contains(e.Message, c.message) || !errors.Is(err, c.cause) && c.cause != nil {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}
