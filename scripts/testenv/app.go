package testenv

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed app/shop.py
var appWSGI string

//go:embed app/shop_asgi.py
var appASGI string

// Release is one deploy of the app.
type Release struct {
	Number int
	Import float64 // seconds that the import takes
	Fault  string  // raise, mute, deaf or orphan, see app/shop.py; empty: none
}

func (r Release) String() string {
	fault := r.Fault
	if fault == "" {
		fault = "none"
	}
	return fmt.Sprintf("release=%d\nimport=%g\nfault=%s\n", r.Number, r.Import, fault)
}

// App is the test app in a folder of an Env.
type App struct {
	Dir     string
	Log     *AppLog
	release Release
}

// NewApp writes the test app into a folder and deploys its first release.
func (e *Env) NewApp(folder string, first Release) (*App, error) {
	for name, text := range map[string]string{"shop.py": appWSGI, "shop_asgi.py": appASGI} {
		if _, err := e.Write(filepath.Join(folder, name), text); err != nil {
			return nil, err
		}
	}
	a := &App{Dir: e.Path(folder), Log: &AppLog{path: e.Path(folder, "requests.log")}}
	// The children may run as another user.
	if err := os.Chmod(a.Dir, os.ModeSticky|0o777); err != nil {
		return nil, err
	}
	return a, a.Deploy(first)
}

// Deploy replaces the release by a rename.
func (a *App) Deploy(r Release) error {
	path := filepath.Join(a.Dir, "release")
	if err := os.WriteFile(path+".new", []byte(r.String()), 0o644); err != nil {
		return err
	}
	a.release = r
	return os.Rename(path+".new", path)
}

// Release returns the release deployed last.
func (a *App) Release() Release { return a.release }

// DeployNext deploys a release with the next number and without a fault.
func (a *App) DeployNext() (Release, error) {
	next := a.release
	next.Number++
	next.Fault = ""
	return next, a.Deploy(next)
}

// DeployBroken deploys a release with the next number and a fault.
func (a *App) DeployBroken(fault string) error {
	next := a.release
	next.Number++
	next.Fault = fault
	return a.Deploy(next)
}

// Venv returns the path of a program in a Python environment of scripts/setup.
func (e *Env) Venv(name, program string) string {
	return filepath.Join(e.Root, ".local", "venvs", name, "bin", program)
}

// Binary returns the path of the program under test.
func Binary(root string) string {
	if path := os.Getenv("TIDEOVER_BIN"); path != "" {
		return path
	}
	return filepath.Join(root, ".local", "bin", "tideover")
}
