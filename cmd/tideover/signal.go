package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tideover/supervisor"
)

func signalVerb(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "signal [APP] SIGNAL",
		Short: "Send a signal to an app's main process",
		Example: `  tideover signal shop TTIN     gunicorn: one worker more
  tideover signal shop TTOU     one worker less
  tideover signal shop USR1     reopen its own log files`,
		Long: `HUP makes gunicorn reload by itself, without tideover's care: use reload.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "which signal?")
			}
			return most(2)(cmd, args)
		},
		ValidArgsFunction: c.appNames(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return sendSignal(c, cmd, args) },
	}
}

func sendSignal(c *cli, cmd *cobra.Command, args []string) error {
	ctx, cancel := c.waiting(cmd.Context())
	defer cancel()
	name := args[len(args)-1]
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	t, err := c.target(ctx, first(args[:len(args)-1]))
	if err != nil {
		return err
	}
	if err := t.client.Signal(ctx, t.app, sig); err != nil {
		return err
	}
	switch {
	case c.json:
		return c.document(map[string]any{"app": t.app, "signal": unix.SignalName(sig)})
	case !c.quiet:
		fmt.Fprintf(c.stdout, "%s: %s sent%s\n", t.app, unix.SignalName(sig), consequence(sig))
	}
	return nil
}

// consequence is what people may not expect of a signal that ends the app:
// tideover keeps it running.
func consequence(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT:
		return "; it is started again, unless its restart key forbids that"
	}
	return ""
}

// parseSignal takes TTIN, SIGTTIN, ttin and 21.
func parseSignal(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && unix.SignalName(syscall.Signal(n)) != "" {
		return syscall.Signal(n), nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		return 0, fault(supervisor.ExitUsage, "say it like TTIN, HUP or USR1", "%q is no signal", name)
	}
	return sig, nil
}
