package main

import (
	"time"

	"github.com/spf13/cobra"
)

// completionTime is how long a daemon may take to name its apps while somebody
// waits at the TAB key.
const completionTime = 200 * time.Millisecond

func completionVerb(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes verbs, flags and the names of running apps",
		Example: `  source <(tideover completion bash)
  tideover completion bash > /etc/bash_completion.d/tideover
  tideover completion zsh  > "${fpath[1]}/_tideover"
  tideover completion fish > ~/.config/fish/completions/tideover.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      most(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch first(args) {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usage(cmd, "for which shell: bash, zsh or fish?")
		},
	}
}
