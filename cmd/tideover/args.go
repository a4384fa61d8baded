package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// most is cobra's MaximumNArgs with the exit code and the words of ours.
func most(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, "%s takes %s, not %q", cmd.Name(), plural(n, "name"), strings.Join(args, " "))
		}
		return nil
	}
}

func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no arguments, not %q", cmd.Name(), strings.Join(args, " "))
	}
	return nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// split separates the words before "--" from the command after it; given is
// false when there is no "--".
func split(cmd *cobra.Command, args []string) (before, command []string, given bool) {
	dash := cmd.ArgsLenAtDash()
	if dash < 0 {
		return args, nil, false
	}
	return args[:dash], args[dash:], true
}
