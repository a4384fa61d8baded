package main

import (
	"context"

	"github.com/spf13/cobra"

	"tideover/supervisor"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
)

// target is an app and the daemon that keeps it.
type target struct {
	client *control.Client
	app    string
}

// places are where the daemon may be: on --socket, on the socket of -c FILE, or
// wherever daemons are.
func (c *cli) places() control.Places {
	socket := c.socket
	if socket == "" && c.chosen {
		socket = c.configuredSocket()
	}
	return control.Places{Socket: socket, Dirs: c.dirs, Users: c.users}
}

// configuredSocket is where the daemon of -c FILE listens.
func (c *cli) configuredSocket() string {
	file, err := config.Load(c.config)
	if err == nil && file.Daemon.Socket != "" {
		return file.Daemon.Socket
	}
	return control.SocketPath(c.dirs[0], "") // also of a file that is broken now
}

// target finds one app; no name is $TIDEOVER_APP, else the only app there is.
func (c *cli) target(ctx context.Context, name string) (target, error) {
	if name == "" {
		name = c.getenv("TIDEOVER_APP")
	}
	client, app, err := c.places().Find(ctx, name)
	return target{client, app}, err
}

// targets finds all that were named, before anything is done to the first.
func (c *cli) targets(ctx context.Context, names []string, all bool) ([]target, error) {
	if all && len(names) > 0 {
		return nil, fault(supervisor.ExitUsage, "give the names or --all", "--all leaves nothing to name")
	}
	if all {
		return c.everyAppOfOne(ctx)
	}
	if len(names) == 0 {
		names = []string{""}
	}
	var found []target
	for _, name := range names {
		one, err := c.target(ctx, name)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

// everyAppOfOne is what --all means: a daemon's apps, and no other daemon's.
func (c *cli) everyAppOfOne(ctx context.Context) ([]target, error) {
	daemon, err := c.places().One(ctx)
	if err != nil {
		return nil, err
	}
	var found []target
	for _, a := range daemon.Status.Apps {
		found = append(found, target{daemon.Client, a.Name})
	}
	return found, nil
}

func (c *cli) everyApp(ctx context.Context) ([]target, error) {
	daemons, err := c.places().Daemons(ctx)
	if err != nil {
		return nil, err
	}
	var found []target
	for _, d := range daemons {
		for _, a := range d.Status.Apps {
			found = append(found, target{d.Client, a.Name})
		}
	}
	return found, nil
}

// appNames completes the names of running apps. It is silent when it cannot.
func (c *cli) appNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		found, err := c.everyApp(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		for _, t := range found {
			names = append(names, t.app)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
