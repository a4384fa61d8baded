package main

import (
	"bytes"
	"context"
	_ "embed"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
)

// completionTimeout is how long a daemon may take to list its apps when TAB is
// pressed.
const completionTimeout = 200 * time.Millisecond

// unlimited is the number of names for verbs that take any number of apps.
const unlimited = 1000

// bashCompletion is shorter than what cobra generates and does not need the
// package bash-completion.
//
//go:embed completion.bash
var bashCompletion string

func newCompletionCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes verbs, flags and the names of apps",
		Example: `  source <(tideover completion bash)
  tideover completion bash > /etc/bash_completion.d/tideover
  tideover completion zsh  > "${fpath[1]}/_tideover"
  tideover completion fish > ~/.config/fish/completions/tideover.fish`,
		Long: `The names and labels of apps come from the running daemon; when no daemon runs,
from the configuration. The scripts for bash and zsh also complete supervisorctl
where that is a symlink to tideover.`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      maxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch firstArg(args) {
			case "bash":
				_, err := io.WriteString(out, bashCompletion)
				return err
			case "zsh":
				return writeZshCompletion(root, out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usageError(cmd, "for which shell: bash, zsh or fish?")
		},
	}
}

// writeZshCompletion writes cobra's script, which is then for supervisorctl too. A supervisorctl that
// is not this program fails, and completes nothing.
func writeZshCompletion(root *cobra.Command, out io.Writer) error {
	var script bytes.Buffer
	if err := root.GenZshCompletion(&script); err != nil {
		return err
	}
	_, err := strings.NewReplacer(
		"#compdef tideover\ncompdef _tideover tideover\n", "#compdef tideover supervisorctl\ncompdef _tideover tideover supervisorctl\n",
		"out=$(eval ${requestComp} 2>/dev/null)\n", "out=$(eval ${requestComp} 2>/dev/null) || return 1\n",
	).WriteString(out, script.String())
	return err
}

// completeApps completes up to limit names, labels and groups of apps.
func (c *cli) completeApps(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names := slices.DeleteFunc(c.knownSelectors(ctx), func(name string) bool { return slices.Contains(given, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// knownSelectors lists what selects apps: of the daemons that run, else of the
// configuration; nil: neither can be read.
func (c *cli) knownSelectors(ctx context.Context) []string {
	if daemons, err := c.findDaemons(ctx); err == nil {
		return control.Selectors(daemons)
	}
	path, err := c.configPath("")
	if err != nil {
		return nil
	}
	file, err := config.Load(path)
	if err != nil {
		return nil
	}
	var configured control.Daemon
	for _, family := range file.Apps {
		for _, a := range family.Each() {
			configured.Status.Apps = append(configured.Status.Apps, api.AppStatus{Name: a.Name, Labels: a.Labels})
		}
	}
	return control.Selectors([]control.Daemon{configured})
}

// completeFlag completes the values of a flag.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	complete := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag: a mistake in this package
	}
}

// completeHelp completes verbs, help topics and, after config, keys.
func completeHelp(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var pages []cobra.Completion
	for _, page := range cmd.Root().Commands() {
		if len(given) == 0 && !page.Hidden {
			pages = append(pages, page.Name())
		}
	}
	if len(given) == 0 {
		pages = slices.AppendSeq(pages, maps.Keys(generatedPages()))
	}
	if len(given) == 1 && given[0] == "config" {
		for _, k := range config.AppKeys() {
			pages = append(pages, k.Path)
		}
		for _, k := range config.DaemonKeys() {
			pages = append(pages, "daemon."+k.Path)
		}
		for _, k := range config.FleetKeys() {
			pages = append(pages, "fleet."+k.Path)
		}
	}
	return pages, cobra.ShellCompDirectiveNoFileComp
}

// completeSignal completes apps, and signals too from the second argument on or
// after a capital letter.
func (c *cli) completeSignal(cmd *cobra.Command, given []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, directive := c.completeApps(unlimited)(cmd, given, word)
	if len(given) > 0 || word != "" && strings.ToUpper(word) == word {
		for number := unix.SIGHUP; number <= unix.SIGTTOU; number++ {
			names = append(names, strings.TrimPrefix(unix.SignalName(number), "SIG"))
		}
	}
	return names, directive
}
