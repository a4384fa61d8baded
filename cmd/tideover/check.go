package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func checkVerb(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "check [FILE]",
		Aliases: []string{"validate"},
		Short:   "Find every fault of a configuration",
		Example: `  tideover check                   the file that run would take
  tideover check tideover.toml`,
		Long: `Every fault comes at once with its place and a remedy, and so does what this
machine lacks: users, directories, commands. Exits 0 when there is no error,
whatever the warnings, and 5 otherwise. Nothing is started or changed.`,
		Args: most(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := c.configPath(first(args))
			if err != nil {
				return err
			}
			return checkFile(c, path)
		},
	}
}

// configPath is the configuration that was named, or else the one found.
func (c *cli) configPath(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if c.config != "" {
		return c.config, nil
	}
	if path, ok := config.Discover(); ok {
		return path, nil
	}
	return "", fault(api.ExitUsage, "one command:  tideover run -- gunicorn app:app\na file:       tideover run -c tideover.toml",
		"there is no configuration here")
}

func checkFile(c *cli, path string) error {
	file, err := config.Load(path)
	problems, err := problemsOf(file, err)
	if err != nil {
		return err
	}
	if file != nil {
		problems = append(problems, file.Inspect()...)
	}
	faults := countFaults(problems)
	switch {
	case c.json:
		c.document(checked(path, problems))
	case !c.quiet || faults > 0:
		listProblems(c.results(), problems)
		fmt.Fprintf(c.stdout, "%s: %s, %s\n", path, plural(faults, "error"), plural(len(problems)-faults, "warning"))
	}
	if faults > 0 {
		return exitCode(api.ExitConfig)
	}
	return nil
}

// refuseConfig tells why a configuration cannot be run.
func (c *cli) refuseConfig(err error) error {
	problems, err := problemsOf(nil, err)
	if err != nil {
		return &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	listProblems(c.errors(), problems)
	if c.json {
		c.document(checked("", problems))
	}
	return exitCode(api.ExitConfig)
}

// problemsOf is what Load found, whether it made the file unusable or not.
func problemsOf(file *config.File, err error) ([]config.Problem, error) {
	var faults *config.Error
	switch {
	case errors.As(err, &faults):
		return faults.Problems, nil
	case err != nil:
		return nil, err
	}
	return file.Warnings, nil
}

func countFaults(problems []config.Problem) int {
	return (&config.Error{Problems: problems}).Errors()
}

// list prints problems as a compiler would, so that editors find their places.
func listProblems(s screen, problems []config.Problem) {
	for _, p := range problems {
		io.WriteString(s.out, s.problems(p.String()))
	}
}

// problem is a config.Problem as scripts see it.
type problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	App     string `json:"app,omitempty"`
	Warning bool   `json:"warning"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// checked is check's document.
func checked(path string, problems []config.Problem) map[string]any {
	all := []problem{}
	for _, p := range problems {
		all = append(all, problem{p.File, p.Line, p.Column, p.App, p.Warning, p.Message, p.Hint})
	}
	faults, exit := countFaults(problems), api.ExitOK
	if faults > 0 {
		exit = api.ExitConfig
	}
	return map[string]any{"file": path, "exit": exit, "errors": faults, "warnings": len(problems) - faults, "problems": all}
}
