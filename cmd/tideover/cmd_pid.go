package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
)

func newPidCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "pid [APP...]",
		Short: "Print the pid of the daemon, or of apps' main processes",
		Example: `  tideover pid               the daemon
  tideover pid shop          its main process; exit 3 when there is none
  tideover pid all           a line for each app that runs`,
		ValidArgsFunction: c.completeApps(unlimited),
		RunE:              func(cmd *cobra.Command, args []string) error { return printPids(c, cmd, args) },
	}
}

func printPids(c *cli, cmd *cobra.Command, names []string) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	if len(names) == 0 {
		daemon, err := c.oneDaemon(ctx)
		if err != nil {
			return err
		}
		return printPid(c, map[string]int{"tideover": daemon.Status.Pid}, []int{daemon.Status.Pid})
	}
	daemons, err := c.daemons(ctx, names)
	if err != nil {
		return err
	}
	var pids []int
	var down []string
	byApp := map[string]int{}
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			if byApp[a.Name] = a.Pid; a.Pid == 0 {
				down = append(down, a.Name)
				continue
			}
			pids = append(pids, a.Pid)
		}
	}
	if err := printPid(c, byApp, pids); err != nil {
		return err
	}
	if len(down) > 0 {
		return errorf(api.ExitNotRunning, "", "not running: %s", joinNames(down))
	}
	return nil
}

func printPid(c *cli, byApp map[string]int, pids []int) error {
	if c.json {
		return c.writeDocument(map[string]any{"pids": byApp}) // also of apps that do not run: 0
	}
	for _, pid := range pids {
		fmt.Fprintln(c.stdout, pid)
	}
	return nil
}
