package state

import (
	"slices"
	"time"
)

// Release is a directory from which a generation of an app was ready.
type Release struct {
	Dir      string    `json:"dir"`      // symlinks resolved
	Links    []Link    `json:"links"`    // that led to it, in the order in which they were followed
	Revision string    `json:"revision"` // empty: unknown
	Given    bool      `json:"given"`    // the revision was named by a command
	Ready    time.Time `json:"ready"`    // of the last generation
	Failed   bool      `json:"failed"`   // an operation has not come up from it since then
}

// Link is a symlink on the way to a directory.
type Link struct {
	Path string `json:"path"` // its own directory has no symlinks
	To   string `json:"to"`   // as it is written in the symlink
}

// maxReleases bounds the releases of one app.
const maxReleases = 20

// SetReady records that a generation of an app was ready in a directory.
func (s *Store) SetReady(app string, r Release) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(s.content.Releases[app]), func(other Release) bool { return other.Dir == r.Dir })
	all = append(all, r)
	s.content.Releases[app] = all[max(0, len(all)-maxReleases):]
	return s.saveLocked(false)
}

// SetFailed records that an app did not come up from a directory.
func (s *Store) SetFailed(app, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.content.Releases[app] {
		if r.Dir == dir && !r.Failed {
			s.content.Releases[app][i].Failed = true
			return s.saveLocked(false)
		}
	}
	return nil
}

// Releases returns the directories from which an app was ready, the last one at the end.
func (s *Store) Releases(app string) []Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.content.Releases[app])
}
