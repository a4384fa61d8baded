package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func newCheckCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "check [FILE]",
		Aliases: []string{"validate"},
		Short:   "Find all errors of a configuration",
		Example: `  tideover check                   the file that run would use
  tideover check tideover.toml`,
		Long: `Prints every error with its place and a remedy, and what this machine lacks:
users, directories, commands. Exits 0 when there is no error, also when there
are warnings, and 5 otherwise. Nothing is started or changed.`,
		Args: maxNames(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := c.configPath(firstArg(args))
			if err != nil {
				return err
			}
			return checkFile(c, path)
		},
	}
}

// checkFile prints the problems of a configuration and of what it needs on this
// machine.
func checkFile(c *cli, path string) error {
	file, err := config.Load(path)
	problems, err := problemsOf(file, err)
	if err != nil {
		return err
	}
	if file != nil {
		problems = append(problems, file.Inspect()...)
	}
	faults := countErrors(problems)
	switch {
	case c.json:
		c.writeDocument(checkDocument(path, problems))
	case !c.quiet || faults > 0:
		printProblems(c.results(), problems)
		fmt.Fprintf(c.stdout, "%s: %s, %s\n", path, term.Plural(faults, "error"), term.Plural(len(problems)-faults, "warning"))
	}
	if faults > 0 {
		return exitCode(api.ExitConfig)
	}
	return nil
}
