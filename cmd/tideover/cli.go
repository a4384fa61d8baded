package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

// cli is one command line being carried out: where its words go, and what the
// global flags said.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	dirs           []string // where daemons are looked for
	users          []string // and, by root, other users'

	config  string
	chosen  bool // --config was typed, and so means one daemon
	socket  string
	json    bool
	quiet   bool
	verbose bool
	timeout time.Duration
	color   string

	answered bool // the JSON document is out
}

func newCLI(dirs []string, stdin io.Reader, stdout, stderr io.Writer, env []string) *cli {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr, env: env, dirs: dirs}
	if c.dirs == nil {
		c.dirs, c.users = control.DefaultDirs(c.getenv), control.OtherUsers()
	}
	return c
}

// getenv is the value of a variable; the last one of its name counts, as in
// the process's own environment.
func (c *cli) getenv(name string) string {
	value := ""
	for _, pair := range c.env {
		if rest, ok := strings.CutPrefix(pair, name+"="); ok {
			value = rest
		}
	}
	return value
}

func (c *cli) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "tideover",
		Short:             "Keeps Python web apps answering while they restart",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&c.config, "config", "c", c.getenv("TIDEOVER_CONFIG"), "configuration `file`")
	flags.StringVarP(&c.socket, "socket", "S", c.getenv("TIDEOVER_SOCKET"), "control socket of the daemon")
	flags.BoolVar(&c.json, "json", false, "print exactly one JSON document")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "errors only")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "say more")
	flags.DurationVar(&c.timeout, "timeout", 0, "how long this command waits; the daemon goes on")
	flags.StringVar(&c.color, "color", "auto", "auto, always or never")
	completeFlag(root, "color", "auto", "always", "never")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		c.chosen = cmd.Flags().Changed("config")
		return c.checkFlags()
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%v", err) })
	root.SetHelpCommand(helpVerb())
	root.SetHelpFunc(help)
	root.AddCommand(runVerb(c), reloadVerb(c), restartVerb(c), startVerb(c), stopVerb(c),
		applyVerb(c), shutdownVerb(c), statusVerb(c), pidVerb(c), logsVerb(c), holdVerb(c), releaseVerb(c), signalVerb(c),
		checkVerb(c), importVerb(c), completionVerb(c), versionVerb(c))
	root.AddCommand(topics()...)
	return root
}

func (c *cli) checkFlags() error {
	switch c.color {
	case "auto", "always", "never":
	default:
		return fault(api.ExitUsage, "say auto, always or never", "--color %s is not one of its values", c.color)
	}
	if c.timeout < 0 {
		return fault(api.ExitUsage, "say it like 30s", "--timeout must not be negative")
	}
	return nil
}

// waiting is the context of a command that asks a daemon: it ends with
// --timeout and with Ctrl-C, and then only the waiting ends.
func (c *cli) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	if c.timeout == 0 {
		return ctx, restore
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return ctx, func() { cancel(); restore() }
}

// exitCode is an error that has been told already, or needs no words.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func fault(exit api.Exit, hint, format string, args ...any) *api.Error {
	return &api.Error{Exit: exit, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// usage is the error for a command line that makes no sense; the hint is the
// verb's own example.
func usage(cmd *cobra.Command, format string, args ...any) error {
	hint := "tideover help " + cmd.Name()
	if !cmd.HasParent() {
		hint = "tideover help"
	}
	return fault(api.ExitUsage, hint, format, args...)
}

func unknownVerb(cmd *cobra.Command, verb string) error {
	cmd.SuggestionsMinimumDistance = 2
	hint := "tideover help"
	if near := cmd.SuggestionsFor(verb); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return fault(api.ExitUsage, hint, "there is no verb %q", verb)
}

// conclude tells an error to people and scripts and turns it into the exit
// code.
func (c *cli) conclude(err error) int {
	var code exitCode
	var typed *api.Error
	switch {
	case err == nil:
		return int(api.ExitOK)
	case errors.As(err, &code):
		return int(code)
	case !errors.As(err, &typed):
		typed = &api.Error{Exit: api.ExitError, Message: err.Error()}
	}
	s := c.errors()
	s.say(red, s.mark("✗", "tideover:"), typed.Message)
	for line := range strings.Lines(unsaid(typed.Hint, typed.Message)) {
		mark := s.mark("  ", "hint: ")
		io.WriteString(s.out, s.paragraphs(mark, mark, line))
	}
	if c.json && !c.answered {
		c.document(typed)
	}
	return int(typed.Exit)
}

// document writes the one JSON document that --json promises.
func (c *cli) document(v any) error {
	c.answered = true
	encoder := json.NewEncoder(c.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
