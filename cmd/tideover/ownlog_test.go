package main

import (
	"bytes"
	"strings"
	"testing"

	"tideover/supervisor/config"
)

// TestLogFormat: JSON is for machines, and so not where people read.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key string
		env       []string
		json      bool
	}{
		{"", "", nil, true},
		{"", "auto", nil, true},
		{"shop", "", nil, false},
		{"", "", []string{"SUPERVISOR_ENABLED=1"}, false},
		{"", "text", nil, false},
		{"shop", "json", nil, true},
		{"", "json", []string{"TIDEOVER_LOG_FORMAT=text"}, false},
		{"shop", "", []string{"TIDEOVER_LOG_FORMAT=json"}, true},
	} {
		var out bytes.Buffer
		cli := newCLI([]string{t.TempDir()}, strings.NewReader(""), &out, &out, c.env)
		d := newDaemon(cli, &config.File{Daemon: config.Daemon{LogFormat: c.key}}, c.name, nil, &runFlags{})
		if err := d.openLog(); err != nil {
			t.Fatal(err)
		}
		d.logger.Info("hello")
		if got := strings.HasPrefix(out.String(), "{"); got != c.json {
			t.Errorf("%+v: %q", c, out.String())
		}
	}
}
