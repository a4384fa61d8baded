package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tideover/supervisor/handoff"
)

// version is the release of this source, or the next one. scripts/package sets it to the
// version of the tag, and commit to the commit that it packages.
var (
	version = "0.1.0"
	commit  string
)

func newVersionCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: `  tideover version --json`,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return printVersion(c) },
	}
}

func printVersion(c *cli) error {
	commit, modified := buildCommit()
	if c.json {
		return c.writeDocument(map[string]any{
			"version": version, "commit": commit, "modified": modified, "record": handoff.RecordVersion,
			"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	from := ""
	if commit != "" {
		from = ", commit " + commit[:min(12, len(commit))]
	}
	if modified {
		from += " and changes"
	}
	fmt.Fprintf(c.stdout, "tideover %s (%s, %s/%s%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, from)
	return nil
}

// buildCommit is the commit that the binary was built from; empty: the toolchain
// has not recorded it.
func buildCommit() (revision string, modified bool) {
	if commit != "" {
		return commit, false
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", false
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	return revision, modified
}
