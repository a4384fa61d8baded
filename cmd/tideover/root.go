package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

// cli is one command line: its streams and its global flags.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	dirs           []string // where daemons are looked for; the first is where daemons keep their sockets
	otherUserDirs  []string // patterns of other users' directories, for hints to root

	config      string
	configGiven bool // --config was typed, and means the one daemon of that file
	socket      string
	user        string
	json        bool
	quiet       bool
	verbose     bool
	timeout     time.Duration
	color       string
	version     bool                // --version
	onSilent    func(socket string) // see control.Locator

	documentWritten bool // the document of --json

	monitored   bool                // `run` is the monitor of a supervisor
	supervision *daemon.Supervision // nil: this process is not a monitor's supervisor

	daemonErrors *logs.Writer // what stderr is in the daemon; nil: another verb
}

func newCLI(dirs []string, stdin io.Reader, stdout, stderr io.Writer, env []string) *cli {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr, env: env, dirs: dirs}
	if c.dirs == nil {
		c.dirs, c.otherUserDirs = control.DefaultDirs(c.getenv), control.OtherUserDirs()
	}
	return c
}

// getenv is the value of a variable. Of several of one name the last counts, as
// in the environment of a process.
func (c *cli) getenv(name string) string {
	value := ""
	for _, pair := range c.env {
		if rest, ok := strings.CutPrefix(pair, name+"="); ok {
			value = rest
		}
	}
	return value
}

// rootCommand is the command tree, with the flags that every verb takes.
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
	flags.StringVar(&c.user, "user", "", "for root: only daemons of the user `NAME`")
	flags.BoolVar(&c.json, "json", false, "print exactly one JSON document")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "errors only")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "say more")
	flags.DurationVar(&c.timeout, "timeout", 0, "how long this command waits; the daemon goes on")
	flags.StringVar(&c.color, "color", "auto", "auto, always or never")
	flags.BoolVarP(&c.version, "version", "V", false, "print the version of this program")
	completeFlag(root, "color", "auto", "always", "never")
	completeFlag(root, "user") // no names of files
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		c.configGiven = cmd.Flags().Changed("config")
		if err := c.checkFlags(); err != nil || !c.version {
			return err
		}
		if err := printVersion(c); err != nil {
			return err
		}
		return exitCode(api.ExitOK) // the verb is not carried out
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	root.SetHelpCommand(newHelpCommand())
	root.SetHelpFunc(printHelp)
	root.AddCommand(newRunCommand(c), newReloadCommand(c), newRollbackCommand(c), newRestartCommand(c), newStartCommand(c), newStopCommand(c),
		newApplyCommand(c), newUpgradeCommand(c), newShutdownCommand(c), newHoldCommand(c), newReleaseCommand(c), newDrainCommand(c), newUndrainCommand(c), newSignalCommand(c), newMoveCommand(c), newInitCommand(c), newRolloutCommand(c), readOnly(newFleetCommand(c)),
		readOnly(newStatusCommand(c)), readOnly(newTopCommand(c)), readOnly(newPidCommand(c)), readOnly(newLogsCommand(c)), readOnly(newHistoryCommand(c)), readOnly(newEventsCommand(c)), readOnly(newWaitCommand(c)), readOnly(newCheckCommand(c)), readOnly(newDoctorCommand(c)),
		readOnly(newImportCommand(c)), readOnly(newCompletionCommand(c)), readOnly(newVersionCommand(c)))
	root.AddCommand(newHelpTopics()...)
	return root
}

func (c *cli) checkFlags() error {
	switch c.color {
	case "auto", "always", "never":
	default:
		return errorf(api.ExitUsage, "write auto, always or never", "--color %s is not one of its values", c.color)
	}
	if c.timeout < 0 {
		return errorf(api.ExitUsage, "write it like 30s", "--timeout must not be negative")
	}
	return nil
}

// waitContext is the context of a request to a daemon. It ends with --timeout,
// SIGINT and SIGTERM; the operation in the daemon goes on.
func (c *cli) waitContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	if c.timeout == 0 {
		return ctx, restore
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return ctx, func() { cancel(); restore() }
}

// exitCode is an error that has been printed already, or needs no message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitError is nil for ExitOK, else an exitCode.
func exitError(exit api.Exit) error {
	if exit == api.ExitOK {
		return nil
	}
	return exitCode(exit)
}

func errorf(exit api.Exit, hint, format string, args ...any) *api.Error {
	return &api.Error{Exit: exit, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// usageError is the error for wrong flags or arguments.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	hint := "tideover help " + cmd.Name()
	if !cmd.HasParent() {
		hint = "tideover help"
	}
	return errorf(api.ExitUsage, hint, format, args...)
}

// unknownVerb is the error for a verb that does not exist. It suggests only verbs that change
// nothing: a suggestion is often typed without a thought.
func unknownVerb(root *cobra.Command, verb string) error {
	hint := "tideover help lists the verbs"
	if near := similarVerbs(root, verb, func(other *cobra.Command) bool { return other.Annotations[looksOnly] != "" }); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return errorf(api.ExitUsage, hint, "there is no verb %q", verb)
}

// looksOnly is the annotation of verbs that change nothing.
const looksOnly = "looks only"

// readOnly marks a verb as one that changes nothing.
func readOnly(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{looksOnly: "yes"}
	return cmd
}

// similarVerbs lists the verbs with a name that is similar, among those that may be named.
func similarVerbs(root *cobra.Command, verb string, mayBeNamed func(*cobra.Command) bool) []string {
	if root.SuggestionsMinimumDistance = 2; len(verb) < 4 {
		root.SuggestionsMinimumDistance = 1
	}
	near := root.SuggestionsFor(verb)
	return slices.DeleteFunc(near, func(name string) bool {
		found, _, err := root.Find([]string{name})
		return err != nil || !mayBeNamed(found)
	})
}

// exit prints err, also as the document of --json, and returns the exit code.
func (c *cli) exit(err error) int {
	var code exitCode
	var typed *api.Error
	var logged *daemon.LoggedError
	switch {
	case err == nil:
		return int(api.ExitOK)
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &logged):
		return int(logged.Exit)
	case !errors.As(err, &typed):
		typed = &api.Error{Exit: api.ExitError, Message: err.Error()}
	}
	printError(c.errors(), typed)
	if c.json && !c.documentWritten {
		c.writeDocument(typed)
	}
	return int(typed.Exit)
}
