package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/term"
	"tideover/cmd/tideover/internal/top"
)

func newTopCommand(c *cli) *cobra.Command {
	every := interval(time.Second)
	cmd := &cobra.Command{
		Use:        "top [APP...]",
		Aliases:    []string{"monit"},
		SuggestFor: []string{"htop", "dash", "dashboard", "watch"},
		Short:      "Show the apps live: requests, held, latency, reloads, logs",
		Example: `  tideover top                 all apps of all daemons that you may ask
  tideover top shop web        some of them, by name or label
  tideover top --interval 5s`,
		Long: `Needs a terminal of at least 40 x 10; tideover status --watch does not. The keys
r, R, h and u (reload, restart, hold, release) ask before they do anything; ?
lists all keys. What has begun goes on when the screen is closed.`,

		ValidArgsFunction: c.completeApps(unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			screen := c.results()
			in, out := term.File(c.stdin), term.File(c.stdout)
			switch {
			case c.json:
				return usageError(cmd, "top has no end, and --json prints one document: tideover status --json")
			case !screen.Terminal || in == nil || out == nil || !term.IsTerminal(in):
				return errorf(2, "tideover status prints the same facts; --watch repeats it, --json is for scripts", "top needs a terminal")
			}
			ctx, cancel := c.waitContext(cmd.Context())
			defer cancel()
			daemons, err := c.daemons(ctx, args)
			if err != nil {
				return err
			}
			host, _ := os.Hostname()
			o := top.Options{Apps: c.selectors(args), Host: host, Version: version, Interval: time.Duration(every), Color: screen.Color, In: in, Out: out, Env: c.env}
			for _, d := range daemons {
				o.Daemons = append(o.Daemons, d.Client)
			}
			return top.Run(ctx, o)
		},
	}
	cmd.Flags().Var(&every, "interval", "`TIME` between two looks")
	return cmd
}
