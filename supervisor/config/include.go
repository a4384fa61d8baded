package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Include is one pattern of the key include.
type Include struct {
	Pattern string
	matched []string // files
	problem *Problem // an error or a warning; nil: there is none
	place   Problem  // of the pattern, without a message
}

// include returns the patterns with the files that they match. A pattern without wildcards
// must match a file.
func (s *source) include(patterns []string, glob func(string) ([]string, error)) (all []Include) {
	for n, pattern := range patterns {
		full := absolute(filepath.Dir(s.path), pattern)
		found, err := glob(full)
		i := Include{Pattern: pattern, matched: found, place: s.problem(s.find([]string{"include", fmt.Sprint(n)}).value, "")}
		switch wildcard := strings.ContainsAny(pattern, "*?["); {
		case err != nil:
			i.problem = i.problemOf(fmt.Sprintf("%q is not a pattern of file names", pattern))
		case len(found) == 0 && wildcard:
			i.problem = i.problemOf("no file matches " + full)
			i.problem.Warning = true
		case len(found) == 0:
			i.problem = i.problemOf("there is no file " + full)
		}
		all = append(all, i)
	}
	return all
}

func (i Include) problemOf(message string) *Problem {
	p := i.place
	p.Message = message
	return &p
}

// allowEmptyHint is the remedy for a configuration that is emptier than it should be.
const allowEmptyHint = "to remove apps of a running daemon in this way: tideover apply --allow-empty"

// noApp is the problem of a configuration without apps: it is more likely that the file was
// truncated than that the daemon is to have nothing to do.
func noApp(path string) Problem {
	return Problem{File: path, Empty: true, Message: "there is no app in it", Hint: "an app begins with [app.NAME]; " + allowEmptyHint}
}

// emptyInclude is the problem of an included file without a character. A file with nothing
// but comments is one whose apps were taken out.
func emptyInclude(path string) *Problem {
	return &Problem{File: path, Empty: true, Message: "the file is empty", Hint: "write it again, or remove the file; " + allowEmptyHint}
}

// LostIncludes returns an *Error if a pattern of include matches no file in f, but matched
// files in before, which is the configuration in force: a directory that is not mounted, or
// that is being written again, must not remove its apps. before may be nil.
func (f *File) LostIncludes(before *File) error {
	if before == nil {
		return nil
	}
	var problems []Problem
	for _, i := range f.Includes {
		had := slices.IndexFunc(before.Includes, func(old Include) bool { return old.Pattern == i.Pattern })
		if had < 0 || len(i.matched) > 0 {
			continue
		}
		if n := len(before.Includes[had].matched); n > 0 {
			p := i.problemOf(fmt.Sprintf("no file matches %s, and %d did when it was applied", i.Pattern, n))
			p.Empty, p.Hint = true, "restore the files, or take the pattern out; "+allowEmptyHint
			problems = append(problems, *p)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return NewError(problems)
}
