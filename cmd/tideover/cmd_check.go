package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
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
users (an error), directories, commands. A syntax error hides nothing but its
line. gunicorn is asked for its settings, as at a start: that runs its
configuration file, as the app's user, but not the app. As root it also prints
which files of the apps root opens, and which a helper opens that has become the
app's user, because others can change the path. Exits 0 when there is no error,
also when there are warnings, and 5 otherwise. No app is started and nothing is
changed.`,
		Args: maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := c.configPath(firstArg(args))
			if err != nil {
				return err
			}
			return checkFile(c, cmd.Context(), path)
		},
	}
}

// checkFile prints the problems of a configuration and of what it needs on this
// machine.
func checkFile(c *cli, ctx context.Context, path string) error {
	file, err := config.Load(path)
	var faulty *config.Error
	if errors.As(err, &faulty) {
		file = faulty.Loaded()
	}
	problems, err := problemsOf(file, err)
	if err != nil {
		return err
	}
	var paths []config.PathAccess
	if file != nil {
		problems = append(problems, file.Inspect()...)
		ofGunicorn, _ := daemon.CheckGunicorns(ctx, file)
		problems = config.NewError(append(problems, ofGunicorn...)).Problems
		paths = file.PathAccess()
	}
	faults := countErrors(problems)
	switch {
	case c.json:
		document := checkDocument(path, problems)
		document["paths"] = slices.Concat([]config.PathAccess{}, paths)
		c.writeDocument(document)
	case !c.quiet || faults > 0:
		printProblems(c.results(), problems)
		printPaths(c.results(), paths)
		fmt.Fprintf(c.stdout, "%s: %s, %s\n", path, term.Plural(faults, "error"), term.Plural(len(problems)-faults, "warning"))
	}
	if faults > 0 {
		return exitCode(api.ExitConfig)
	}
	return nil
}

// printPaths prints as which user the daemon opens each file.
func printPaths(s term.Screen, paths []config.PathAccess) {
	for _, p := range paths {
		line := fmt.Sprintf("%s: %s %s is opened as %s", p.App, p.Key, p.Path, p.As)
		if p.Cause != "" {
			line += ", because " + p.Cause
		}
		fmt.Fprintln(s.Out, line)
	}
}
