package main

import (
	"context"
	_ "embed"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
)

// completionTime is how long a daemon may take to name its apps while somebody
// waits at the TAB key.
const completionTime = 200 * time.Millisecond

// many is how many apps a verb takes that takes several.
const many = 1000

// bashCompletion is shorter than what cobra writes, and needs no package
// bash-completion.
//
//go:embed completion.bash
var bashCompletion string

func completionVerb(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes verbs, flags and the names of apps",
		Example: `  source <(tideover completion bash)
  tideover completion bash > /etc/bash_completion.d/tideover
  tideover completion zsh  > "${fpath[1]}/_tideover"
  tideover completion fish > ~/.config/fish/completions/tideover.fish`,
		Long: `Apps are completed as the running daemon names them, with their labels; where
none runs, as the configuration does.`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      most(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch first(args) {
			case "bash":
				_, err := io.WriteString(out, bashCompletion)
				return err
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usage(cmd, "for which shell: bash, zsh or fish?")
		},
	}
}

// completeApps completes what selects apps, of as many as a verb takes.
func (c *cli) completeApps(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		names := slices.DeleteFunc(c.knownSelectors(ctx), func(name string) bool { return slices.Contains(given, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// knownSelectors are the daemons' words for apps; where none runs, those of the
// configuration. It is silent when it cannot know.
func (c *cli) knownSelectors(ctx context.Context) []string {
	if daemons, err := c.places().Daemons(ctx); err == nil {
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
	var told control.Found
	for _, family := range file.Apps {
		for _, a := range family.Each() {
			told.Status.Apps = append(told.Status.Apps, api.AppStatus{Name: a.Name, Labels: a.Labels})
		}
	}
	return control.Selectors([]control.Found{told})
}

// completeFlag completes a flag's values, of which there are few.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	complete := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // a misspelt flag, in our own code
	}
}

// completeHelp completes verbs and pages.
func completeHelp(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var pages []cobra.Completion
	for _, page := range cmd.Root().Commands() {
		if len(given) == 0 && !page.Hidden {
			pages = append(pages, page.Name())
		}
	}
	return pages, cobra.ShellCompDirectiveNoFileComp
}

// completeSignal completes apps, and from the second word on signals, too.
func (c *cli) completeSignal(cmd *cobra.Command, given []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, directive := c.completeApps(many)(cmd, given, word)
	if len(given) > 0 || word != "" && strings.ToUpper(word) == word {
		for number := unix.SIGHUP; number <= unix.SIGTTOU; number++ {
			names = append(names, strings.TrimPrefix(unix.SignalName(number), "SIG"))
		}
	}
	return names, directive
}
