package daemon

import (
	"bytes"
	"strings"
	"testing"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/config"
)

// TestLogFormat: JSON is for machines, and so not where people read.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key string
		env       map[string]string
		json      bool
	}{
		{"", "", nil, true},
		{"", "auto", nil, true},
		{"shop", "", nil, false},
		{"", "", map[string]string{"SUPERVISOR_ENABLED": "1"}, false},
		{"", "text", nil, false},
		{"shop", "json", nil, true},
		{"", "json", map[string]string{"TIDEOVER_LOG_FORMAT": "text"}, false},
		{"shop", "", map[string]string{"TIDEOVER_LOG_FORMAT": "json"}, true},
	} {
		var out bytes.Buffer
		d := &daemon{Options: Options{
			App: c.name, Config: &config.File{Daemon: config.Daemon{LogFormat: c.key}},
			Stderr: term.Screen{Out: &out}, Getenv: func(name string) string { return c.env[name] },
		}}
		if err := d.openLogger(); err != nil {
			t.Fatal(err)
		}
		d.logger.Info("hello")
		if got := strings.HasPrefix(out.String(), "{"); got != c.json {
			t.Errorf("%+v: %q", c, out.String())
		}
	}
}
