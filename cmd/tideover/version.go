package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tideover/supervisor/handoff"
)

// version is the release this source is, or becomes.
const version = "0.1.0"

func versionVerb(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which tideover this is",
		Example: `  tideover version --json`,
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			commit, modified := builtFrom()
			if c.json {
				return c.document(map[string]any{"version": version, "commit": commit, "modified": modified, "estate": handoff.FormatVersion,
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
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
		},
	}
}

// builtFrom is the commit the binary was built from, where the toolchain knew.
func builtFrom() (commit string, modified bool) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", false
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	return commit, modified
}
