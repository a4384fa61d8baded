package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// source is what is packaged.
type source struct {
	version string // PEP 440: "1.2.0", or "1.2.0.dev17+g0123abcd" between two tags
	commit  string
	date    time.Time // of the commit; of every file in the packages
}

// system is the version as Debian and RPM write it: one between tags is older than the release.
func (s source) system() string { return strings.Replace(s.version, ".dev", "~dev", 1) }

// nextVersion finds the version in the source of the program.
var nextVersion = regexp.MustCompile(`(?m)^\s*version = "([0-9]+\.[0-9]+\.[0-9]+)"$`)

// readSource asks git for the tag and the commit. A commit without a tag gets a version before the
// one that the source names.
func readSource(root string) (source, error) {
	var s source
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	var err error
	if s.commit, err = git("rev-parse", "HEAD"); err != nil {
		return s, err
	}
	changed, err := git("status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return s, err
	}
	seconds, err := git("show", "-s", "--format=%ct", "HEAD")
	if err != nil {
		return s, err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return s, err
	}
	s.date = time.Unix(unix, 0).UTC()
	tag, err := git("describe", "--tags", "--exact-match", "--match", "v[0-9]*", "HEAD")
	if err == nil && changed == "" {
		s.version = strings.TrimPrefix(tag, "v")
		return s, checkTag(root, s.version)
	}
	next, err := versionInSource(root)
	if err != nil {
		return s, err
	}
	count, err := git("rev-list", "--count", "HEAD")
	if err != nil {
		return s, err
	}
	s.version = fmt.Sprintf("%s.dev%s+g%s", next, count, s.commit[:10])
	if changed != "" {
		s.version += ".changed"
	}
	return s, nil
}

func versionInSource(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "cmd/tideover/cmd_version.go"))
	if err != nil {
		return "", err
	}
	found := nextVersion.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("cmd/tideover/cmd_version.go names no version")
	}
	return string(found[1]), nil
}

// checkTag compares a tag with the version in the source, which a build without scripts/package has.
func checkTag(root, version string) error {
	next, err := versionInSource(root)
	if err == nil && next != version {
		err = fmt.Errorf("the tag is v%s, and cmd/tideover/cmd_version.go says %s: correct one of them", version, next)
	}
	return err
}
