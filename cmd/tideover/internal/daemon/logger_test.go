package daemon

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

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

// The line in the place of dropped ones has the format of the log, with its level.
func TestTheLineOfDroppedLinesHasTheFormatOfTheLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options hclog.LoggerOptions
		output  func(io.Writer) io.Writer
		want    string
	}{
		{hclog.LoggerOptions{Name: "tideover", DisableTime: true}, func(w io.Writer) io.Writer { return w },
			"[WARN]  tideover: log lines dropped: lines=17 cause=\"the writer was too slow\"\n"},
		{hclog.LoggerOptions{Name: "tideover", DisableTime: true, Level: hclog.Error}, func(w io.Writer) io.Writer { return prioritized{w} },
			"<4>[WARN]  tideover: log lines dropped: lines=17 cause=\"the writer was too slow\"\n"},
		{hclog.LoggerOptions{Name: "tideover", JSONFormat: true, DisableTime: true}, func(w io.Writer) io.Writer { return w },
			`{"@level":"warn","@message":"log lines dropped","@module":"tideover","cause":"the writer was too slow","lines":17}` + "\n"},
	} {
		if got := droppedLine(c.options, c.output, 17, "the writer was too slow"); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
