package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// frontPage is printed by `tideover` without a verb.
const frontPage = `Keeps Python web apps answering while they restart.

  tideover run -- gunicorn app:app     put this in front of what you type today
  tideover reload                      new code, no lost request
  tideover status                      what runs, and since when

Serve      run · reload · rollback · restart · start · stop
Daemon     apply · upgrade · shutdown
Look       status · top · logs · history · events · wait · pid
Traffic    hold · release · drain · undrain · signal
Fleet      rollout · fleet
More       init · check · doctor · import · move · completion · version · help

tideover help VERB     one verb: examples, flags, exit codes
tideover help flags    flags that every verb takes
tideover help exits    exit codes, for scripts
tideover help signals  signals that the daemon handles
tideover help files    where configuration, sockets and state are
tideover help config   every key of the configuration; help config KEY: one
tideover help schema   its JSON Schema, for editors; help tideover.1: man page
tideover help guide    how tideover behaves, topic by topic; also tideover(7)
`

const globalFlags = `Flags that every verb takes:

  -c, --config FILE    configuration of the daemon      ($TIDEOVER_CONFIG)
  -S, --socket PATH    control socket of the daemon     ($TIDEOVER_SOCKET)
      --user NAME      for root: the daemons of this user, by name or number
      --json           standard output is exactly one JSON document
  -q, --quiet          errors only
  -v, --verbose        more messages
      --timeout 30s    how long this command waits; the daemon goes on
      --color WHEN     auto, always or never; NO_COLOR is honoured
  -V, --version        print the version of this program, and do nothing else

APP is the name of an app, a label, the common name of its instances, or "all".
It may be left out when there is one app, or when $TIDEOVER_APP names it.
Without --socket, the command finds the daemon that has the app, among those of
root and of the user who calls it. When several daemons run, "all", apply and
shutdown need --socket PATH or -c FILE.
`

const exitCodes = `Exit codes of every verb:

   0  ok           what you requested is done
   1  error        unexpected
   2  usage        wrong flags or arguments
   3  not running  no daemon on the socket, or the app is not running
   4  denied       no permission
   5  config       configuration invalid; nothing was changed
   6  no such app  unknown or ambiguous
   7  kept old     the reload failed; the previous generation serves
   8  down         the reload failed and nothing serves; requests are held
   9  busy         another operation runs and --no-queue was given
  10  timeout      this command stopped waiting; what has begun goes on
  11  halted       a rollout has stopped at a failure; other hosts serve

With several apps, it is the worst of their codes. "hold APP -- COMMAND" exits
with the command's own code.
`

const daemonSignals = `Signals to the daemon:

  HUP          apply the configuration, then reload every app; when the
               daemon's terminal has been closed: same as TERM
  TERM, INT    drain, stop all apps, exit 0; a second INT: do not drain
  QUIT         stop all apps without draining
  USR1         reopen log files
  USR2         replace tideover by the one that is installed now: same pid,
               same apps, same clients; as tideover upgrade
  TTIN, TTOU   passed to the main process when there is one app

With daemon.stop_timeout (25 s as process 1 of a container), TERM ends the
daemon within that time, daemon.linger included; a second TERM or INT ends the
linger. Without it, whatever hangs, TERM ends the daemon after drain.timeout,
drain.tunnels and stop.timeout of its slowest app and 30 s more: for apps that
stop one after another ("after"), the sum of their times; twice that while an
apply or an upgrade runs. QUIT ends it after 10 s. If it takes longer, the log
says what it waited for, every process is killed, and the exit code is 1. A
signal that comes several times before it is handled counts once: during a
reload, any number of HUPs is one more reload.

A signal returns no result: use "tideover reload" in deploy scripts.
`

const filePlaces = `Files:

                  root                          other users
  configuration   /etc/tideover/tideover.toml   ./tideover.toml, or in
                                                $XDG_CONFIG_HOME/tideover/
  sockets         /run/tideover/                $XDG_RUNTIME_DIR/tideover/
  state           /var/lib/tideover/            $XDG_STATE_HOME/tideover/

Root takes ./tideover.toml and the XDG directories only when root alone can
change them. A configuration that others can change is refused: for root, the
file and all directories above it must belong to root, and no other user or
group may write there; for other users, not everybody may write the file.

The control socket is control.sock, and NAME.sock for "run -- COMMAND". With
--socket PATH, sockets and state are in the directory of PATH.
`

// newHelpTopics are the help pages that are not about one verb.
func newHelpTopics() []*cobra.Command {
	page := func(name, text string) *cobra.Command { return &cobra.Command{Use: name, Long: text} }
	return []*cobra.Command{page("flags", globalFlags), page("exits", exitCodes),
		page("signals", daemonSignals), page("files", filePlaces), newConfigTopic()}
}

// newConfigTopic is the page of all keys, which is made when it is printed: every command and each process
// of the daemon makes the tree of verbs and pages.
func newConfigTopic() *cobra.Command {
	page := &cobra.Command{Use: "config"}
	page.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), configReference()) })
	return page
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB | config KEY]",
		Short: "Help on a verb, or on flags, exits, signals, files, config",

		ValidArgsFunction: completeHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && args[0] == "config" {
				page, err := keyPage(args[1])
				if err == nil {
					fmt.Fprint(cmd.OutOrStdout(), page)
				}
				return err
			}
			if page, ok := generatedPages()[strings.Join(args, " ")]; ok {
				text, err := page(cmd.Root())
				if err == nil {
					_, err = io.WriteString(cmd.OutOrStdout(), text)
				}
				return err
			}
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownPage(cmd.Root(), strings.Join(args, " "))
			}
			return about.Help()
		},
	}
}

// unknownPage is the error for a help page that does not exist. It names pages, which change
// nothing, of any verb.
func unknownPage(root *cobra.Command, page string) error {
	hint := "tideover help lists the pages"
	if near := similarVerbs(root, page, func(*cobra.Command) bool { return true }); len(near) > 0 {
		hint = "tideover help " + near[0]
	}
	return errorf(api.ExitUsage, hint, "there is no help on %q", page)
}

// printHelp prints a page of at most 24 lines: the purpose of the verb, examples,
// usage, its own flags, and notes for scripts.
func printHelp(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	switch {
	case !cmd.HasParent():
		fmt.Fprint(out, frontPage)
		return
	case !cmd.Runnable():
		fmt.Fprint(out, cmd.Long)
		return
	}
	fmt.Fprintf(out, "%s.\n\n", cmd.Short)
	if cmd.Example != "" {
		fmt.Fprintf(out, "%s\n\n", cmd.Example)
	}
	fmt.Fprintf(out, "Usage: tideover %s\n", cmd.Use)
	if flags := localFlags(cmd); len(flags) > 0 {
		fmt.Fprintf(out, "\n%s", formatFlags(flags))
	}
	if cmd.Long != "" {
		fmt.Fprintf(out, "\n%s\n", cmd.Long)
	}
}

// flagHelp is one flag in the help: "  -f, --follow", and what it means.
type flagHelp struct{ flag, meaning string }

// localFlags lists the verb's own flags, in the order of their declaration. A word in back quotes
// at the beginning of a flag's usage is the name of its value and is printed once.
func localFlags(cmd *cobra.Command) (all []flagHelp) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden || cmd.InheritedFlags().Lookup(f.Name) != nil {
			return // --help itself needs no line
		}
		flag := "      --" + f.Name
		if f.Shorthand != "" {
			flag = "  -" + f.Shorthand + ", --" + f.Name
		}
		value, meaning := valueName(f)
		if value != "" {
			flag += " " + value
		}
		all = append(all, flagHelp{flag, meaning})
	})
	return all
}

// formatFlags writes a line for each flag.
func formatFlags(flags []flagHelp) string {
	width := 0
	for _, f := range flags {
		width = max(width, len(f.flag))
	}
	var b strings.Builder
	for _, f := range flags {
		b.WriteString(term.Pad(f.flag, width) + "   " + f.meaning + "\n")
	}
	return b.String()
}

func valueName(f *pflag.Flag) (value, meaning string) {
	if rest, ok := strings.CutPrefix(f.Usage, "`"); ok {
		value, meaning, _ = strings.Cut(rest, "`")
		return value, strings.TrimSpace(meaning)
	}
	return "", f.Usage
}
