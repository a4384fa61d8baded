package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

func newSignalCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "signal [APP...] SIGNAL",
		Short: "Send a signal to the main process of apps",
		Example: `  tideover signal shop TTIN     gunicorn: one worker more
  tideover signal shop TTOU     one worker less
  tideover signal shop USR1     reopen its own log files
  tideover signal celery TERM   all instances of celery`,
		Long: `With several apps, the exit code is 3 when one of them is not running. The
signal may also be the first argument, as in supervisorctl.
HUP makes gunicorn reload by itself, outside tideover's control: use reload.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "which signal?")
			}
			return nil
		},
		ValidArgsFunction: c.completeSignal,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, sig, err := splitSignal(args)
			if err != nil {
				return err
			}
			return sendSignal(c, cmd.Context(), names, sig)
		},
	}
}

// splitSignal takes the signal from the end of args, or from the beginning where
// the last argument is no signal.
func splitSignal(args []string) ([]string, syscall.Signal, error) {
	last := len(args) - 1
	sig, err := parseSignal(args[last])
	if err == nil {
		return args[:last], sig, nil
	}
	if sig, inFront := parseSignal(args[0]); inFront == nil {
		return args[1:], sig, nil
	}
	return nil, 0, errorf(api.ExitUsage, "write the signal last: tideover signal "+args[0]+" TTIN", "%q is no signal", args[last])
}

// signalResult is the outcome for one app in JSON.
type signalResult struct {
	App    string   `json:"app"`
	Signal string   `json:"signal"`
	Exit   api.Exit `json:"exit"`
	Error  string   `json:"error,omitempty"`
}

func sendSignal(c *cli, ctx context.Context, names []string, sig syscall.Signal) error {
	ctx, cancel := c.waitContext(ctx)
	defer cancel()
	targets, single, err := c.targets(ctx, names)
	if err != nil {
		return err
	}
	worst, results := api.ExitOK, []signalResult{}
	for _, t := range targets {
		result, err := signalOne(c, ctx, t, sig)
		switch {
		case err != nil && single:
			return err
		case err != nil:
			c.note("%s", result.Error)
		}
		if results = append(results, result); result.Exit.Worse(worst) {
			worst = result.Exit
		}
	}
	switch {
	case c.json && single:
		c.writeDocument(struct {
			signalResult
			Results []signalResult `json:"results"`
		}{results[0], results})
	case c.json:
		c.writeDocument(manyResults(results, worst))
	}
	if worst != api.ExitOK {
		printExit(c.errors(), worst)
	}
	return exitError(worst)
}

func signalOne(c *cli, ctx context.Context, t target, sig syscall.Signal) (signalResult, error) {
	result := signalResult{App: t.app, Signal: unix.SignalName(sig)}
	err := t.client.Signal(ctx, t.app, sig)
	var typed *api.Error
	switch {
	case errors.As(err, &typed):
		result.Exit, result.Error = typed.Exit, typed.Message
	case !c.json && !c.quiet:
		fmt.Fprintf(c.stdout, "%s: %s sent%s\n", t.app, result.Signal, consequence(sig))
	}
	return result, err
}

// consequence warns that an app which a signal ends is started again.
func consequence(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT:
		return "; it is started again, unless its restart key forbids that"
	}
	return ""
}

// parseSignal accepts TTIN, SIGTTIN, ttin and 21.
func parseSignal(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && unix.SignalName(syscall.Signal(n)) != "" {
		return syscall.Signal(n), nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		return 0, errorf(api.ExitUsage, "write it like TTIN, HUP or USR1", "%q is no signal", name)
	}
	return sig, nil
}
