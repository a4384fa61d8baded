package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashicorp/go-envparse"

	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// Opener opens the files of the app: its log, its env files, its page. The error says that
// its user does not exist; then the Opener opens what only root can change.
func (a *App) Opener() (safepath.Opener, error) {
	if a.User == "" && a.Group == "" {
		return safepath.Opener{}, nil
	}
	user, err := process.ResolveUser(a.User, a.Group)
	return safepath.Opener{User: user}, err
}

// envFile is a file of env_file that was read.
type envFile struct {
	path     string
	optional bool // it may be missing: "-" in front of its path
	safepath.Read
}

// envFileError is an error in an env file.
type envFileError struct {
	error
	as string // the app's user, if this user can change the file; else empty
}

// readEnvFiles reads the env files of apps. The files of all apps with the same user are
// read together, because that may need a process. Relative paths are relative to dir.
func readEnvFiles(dir string, apps ...*App) map[*App][]envFile {
	type owner struct{ user, group string }
	byOwner := map[owner][]*App{}
	for _, a := range apps {
		if len(a.EnvFile) > 0 {
			o := owner{a.User, a.Group}
			byOwner[o] = append(byOwner[o], a)
		}
	}
	read := map[*App][]envFile{}
	for _, apps := range byOwner {
		var paths []string
		for _, a := range apps {
			for _, path := range a.EnvFile {
				path, optional := strings.CutPrefix(absoluteOptional(dir, path), "-")
				read[a] = append(read[a], envFile{path: path, optional: optional})
				paths = append(paths, path)
			}
		}
		opener, _ := apps[0].Opener() // Inspect reports a user that does not exist
		results := opener.ReadFiles(paths)
		for _, a := range apps {
			for i := range read[a] {
				read[a][i].Read = results[0]
				results = results[1:]
			}
		}
	}
	return read
}

// variables parses NAME=value lines. They are nil if the file is missing and may be.
func (f envFile) variables() (map[string]string, error) {
	switch missing := errors.Is(f.Err, fs.ErrNotExist); {
	case missing && f.optional:
		return nil, nil
	case missing:
		return nil, fmt.Errorf("env file %s: there is no such file", f.path)
	case f.Err != nil:
		return nil, fmt.Errorf("env file %s: it cannot be read: %s", f.path, reason(f.Err))
	}
	set, err := envparse.Parse(bytes.NewReader(f.Text))
	var parseError *envparse.ParseError
	if errors.As(err, &parseError) {
		return nil, fmt.Errorf("%s:%d: %w", f.path, parseError.Line, parseError.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", f.path, err)
	}
	return set, nil
}

// reason is the text of an error of package safepath without the path.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return strings.TrimPrefix(err.Error(), at.Op+" "+at.Path+": ")
	}
	return err.Error()
}
