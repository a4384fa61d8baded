package main

import (
	"errors"
	"io"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// configPath is the configuration that was named, or the one that is found.
func (c *cli) configPath(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if c.config != "" {
		return c.config, nil
	}
	found := config.Discover()
	if found.Path == "" && len(found.Skipped) > 0 {
		first := found.Skipped[0]
		return "", errorf(api.ExitConfig, first.Hint, "%s: %s", first.File, first.Message)
	}
	if !c.quiet {
		printProblems(c.errors(), found.Skipped)
	}
	if found.Path != "" {
		return found.Path, nil
	}
	return "", errorf(api.ExitUsage, "one command:  tideover run -- gunicorn app:app\na file:       tideover run -c tideover.toml",
		"there is no configuration here")
}

// reportInvalidConfig prints why a configuration cannot be loaded and returns
// the exit code.
func (c *cli) reportInvalidConfig(err error) error {
	problems, err := problemsOf(nil, err)
	if err != nil {
		return &api.Error{Exit: api.ExitConfig, Message: err.Error()}
	}
	printProblems(c.errors(), problems)
	printExit(c.errors(), api.ExitConfig)
	if c.json {
		c.writeDocument(checkDocument("", problems))
	}
	return exitCode(api.ExitConfig)
}

// problemsOf returns what Load found: the problems of its error, or the
// warnings of the file.
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

func countErrors(problems []config.Problem) int {
	return (&config.Error{Problems: problems}).Errors()
}

// printProblems prints problems as a compiler does, so that editors find their
// positions.
func printProblems(s term.Screen, problems []config.Problem) {
	for _, p := range problems {
		io.WriteString(s.Out, s.Diagnostics(p.String()))
	}
}

// problem is a config.Problem in JSON.
type problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	App     string `json:"app,omitempty"`
	Warning bool   `json:"warning"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// checkDocument is the document of `check --json`.
func checkDocument(path string, problems []config.Problem) map[string]any {
	all := []problem{}
	for _, p := range problems {
		all = append(all, problem{p.File, p.Line, p.Column, p.App, p.Warning, p.Message, p.Hint})
	}
	faults, exit := countErrors(problems), api.ExitOK
	if faults > 0 {
		exit = api.ExitConfig
	}
	return map[string]any{"file": path, "exit": exit, "errors": faults, "warnings": len(problems) - faults, "problems": all}
}
