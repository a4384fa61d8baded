package rig

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed app/shop.py
var shopWSGI string

//go:embed app/shop_asgi.py
var shopASGI string

// Release is what one deploy of the app is like.
type Release struct {
	Number int
	Import float64 // seconds
	Fault  string  // raise, mute, deaf, orphan; empty: none
}

func (r Release) String() string {
	fault := r.Fault
	if fault == "" {
		fault = "none"
	}
	return fmt.Sprintf("release=%d\nimport=%g\nfault=%s\n", r.Number, r.Import, fault)
}

// Shop is the app in a folder of a room.
type Shop struct {
	Dir     string
	Journal *Journal
	release Release
}

// Shop lays the app into the room and deploys its first release.
func (r *Room) Shop(folder string, first Release) (*Shop, error) {
	for name, text := range map[string]string{"shop.py": shopWSGI, "shop_asgi.py": shopASGI} {
		if _, err := r.Write(filepath.Join(folder, name), text); err != nil {
			return nil, err
		}
	}
	s := &Shop{Dir: r.Path(folder), Journal: &Journal{path: r.Path(folder, "journal")}}
	// The children may run as another user.
	if err := os.Chmod(s.Dir, 0o777); err != nil {
		return nil, err
	}
	return s, s.Deploy(first)
}

// Deploy puts a release in place, all at once.
func (s *Shop) Deploy(r Release) error {
	path := filepath.Join(s.Dir, "release")
	if err := os.WriteFile(path+".new", []byte(r.String()), 0o644); err != nil {
		return err
	}
	s.release = r
	return os.Rename(path+".new", path)
}

// Release is the one deployed last.
func (s *Shop) Release() Release { return s.release }

// Next deploys the release after the present one, without a fault.
func (s *Shop) Next() (Release, error) {
	next := s.release
	next.Number++
	next.Fault = ""
	return next, s.Deploy(next)
}

// Spoil deploys a release that does not work.
func (s *Shop) Spoil(fault string) error {
	next := s.release
	next.Number++
	next.Fault = fault
	return s.Deploy(next)
}

// Venv is a program of one of the project's Python environments.
func (r *Room) Venv(name, program string) string {
	return filepath.Join(r.Root, ".local", "venvs", name, "bin", program)
}

// Binary is where scripts/test puts the program under test.
func Binary(root string) string {
	if path := os.Getenv("TIDEOVER_BIN"); path != "" {
		return path
	}
	return filepath.Join(root, ".local", "bin", "tideover")
}
