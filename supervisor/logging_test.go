package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// log.* is live: a reload that reads the configuration again puts it into force
// for the app's next line.
func TestOutputMovesWithTheConfiguration(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	path := filepath.Join(t.TempDir(), "shop.log")
	var cfg *config.App
	var out syncBuffer
	r.tune = func(o *Options) {
		o.Output = &out
		o.Load = func() (*config.File, error) {
			changed := *cfg
			changed.Log.File, changed.Log.Stdout = path, false
			return &config.File{Apps: []*config.App{&changed}}, nil
		}
	}
	r.open("web", func(a *config.App) { cfg = a })
	r.page()
	a, _ := r.s.registry.app("shop")
	a.log.Note(0, "on the terminal")
	r.want(r.do(api.Reload), api.ExitOK)
	a.log.Note(0, "in the file")
	r.close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "in the file") || strings.Contains(string(text), "on the terminal") {
		t.Errorf("the file has\n%s", text)
	}
	if !strings.Contains(out.String(), "on the terminal") || strings.Contains(out.String(), "in the file") {
		t.Errorf("standard output got\n%s", out.String())
	}
}
