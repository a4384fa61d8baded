package main

import (
	"strings"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
)

// maxNames is cobra.MaximumNArgs with the exit code for usage errors.
func maxNames(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError(cmd, "%s takes %s, not %q", cmd.Name(), term.Plural(n, "name"), strings.Join(args, " "))
		}
		return nil
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, "%s takes no arguments, not %q", cmd.Name(), strings.Join(args, " "))
	}
	return nil
}

func firstArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// splitAtDash separates the arguments before "--" from the command after it.
// given is false when there is no "--".
func splitAtDash(cmd *cobra.Command, args []string) (before, command []string, given bool) {
	dash := cmd.ArgsLenAtDash()
	if dash < 0 {
		return args, nil, false
	}
	return args[:dash], args[dash:], true
}
