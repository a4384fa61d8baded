package main

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/monitor"
)

// runFlags are the flags of run. Most replace a key of the configuration for
// `run -- COMMAND`.
type runFlags struct {
	name, ready, reload, relay, pidfile    string
	listen, envFile, trusted               []string
	readyTimeout, holdTimeout, stopTimeout time.Duration
	holdLimit                              int
	takeOver                               bool
}

func newRunCommand(c *cli) *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [-c FILE] | run [flags] -- COMMAND...",
		Short: "Keep apps running and answering, in the foreground",
		Example: `  tideover run -- gunicorn -w 4 app:app    the command you type today
  tideover run -c tideover.toml            every app of a configuration`,
		RunE: func(cmd *cobra.Command, args []string) error { return runDaemon(c, cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // so that without -- the command's flags are not taken for flags of run
	flags.StringVar(&f.name, "name", "", "`NAME` of the app (default: the directory's)")
	flags.StringArrayVar(&f.listen, "listen", nil, "`ADDRESS` for clients, repeatable (default: the command's)")
	flags.StringVar(&f.ready, "ready", "", "`PATH` that must answer before new code serves")
	flags.StringVar(&f.reload, "reload", "", "`MODE` overlap, or replace: never two copies")
	flags.StringVar(&f.relay, "relay", "", "`MODE` http, or none: the app gets the public socket")
	flags.DurationVar(&f.readyTimeout, "ready-timeout", 0, "`TIME` for the first answer (default: 60s)")
	flags.DurationVar(&f.holdTimeout, "hold-timeout", 0, "`TIME` a request may wait at most (default: 30s)")
	flags.IntVar(&f.holdLimit, "hold-limit", 0, "`N` requests may wait (default: 1000)")
	flags.DurationVar(&f.stopTimeout, "stop-timeout", 0, "`TIME` to end; then it is killed (default: 35s)")
	flags.StringArrayVar(&f.envFile, "env-file", nil, "`FILE` of NAME=value lines, read at every start")
	flags.StringArrayVar(&f.trusted, "trusted", nil, "`CIDR` of front-ends whose X-Forwarded-* count, repeatable")
	flags.StringVar(&f.pidfile, "pidfile", "", "`FILE` for the daemon's pid")
	flags.BoolVar(&f.takeOver, "take-over", false, "start no app and open no address until `tideover move` asks for it")
	flags.MarkHidden("take-over")
	completeFlag(cmd, "reload", string(config.Overlap), string(config.Replace))
	completeFlag(cmd, "relay", "http", config.RelayNone)
	return cmd
}

func runDaemon(c *cli, cmd *cobra.Command, args []string, f *runFlags) error {
	if c.user != "" {
		return usageError(cmd, "--user names the daemons that a command asks; run starts one, as the user who calls it")
	}
	if err := c.dialMonitor(); err != nil {
		return err
	}
	if c.monitored && c.supervision == nil {
		return c.runMonitor()
	}
	c.decoupleErrors()
	_, command, given := splitAtDash(cmd, args)
	switch dash := slices.Index(args, "--"); {
	case !given && dash > 0:
		return usageError(cmd, "%q stands before the --", strings.Join(args[:dash], " "))
	case given && len(command) == 0:
		return errorf(api.ExitUsage, "tideover run -- gunicorn app:app", "there is no command after --")
	case len(args) > 0 && !given:
		return errorf(api.ExitUsage, "tideover run -- "+strings.Join(args, " "), "put -- before the command")
	case given && c.config != "" && cmd.Flags().Changed("config"):
		return usageError(cmd, "-c FILE and -- COMMAND exclude each other")
	case given:
		return runCommandLine(c, cmd, command, f)
	}
	return runConfiguration(c, cmd, f)
}

// dialMonitor finds out whether this process is the supervisor of a monitor.
func (c *cli) dialMonitor() (err error) {
	if os.Args[0] != monitor.RoleName { // of the installed program: tests run many in one process
		return nil
	}
	client, err := monitor.Dial()
	if err != nil || client == nil {
		return err
	}
	c.supervision, err = daemon.Supervise(client)
	return err
}

// runMonitor makes this process the monitor of a supervisor with the same command line.
func (c *cli) runMonitor() error {
	exit, err := monitor.Run(monitor.Options{Args: os.Args[1:], Env: os.Environ(), Getenv: c.getenv, Stderr: unblockCrashOutput(os.Stderr)})
	if err != nil {
		return errorf(api.ExitError, "", "cannot start the supervisor: %v", err)
	}
	return exitCode(exit)
}

// runCommandLine runs one app that is configured by its command and flags.
func runCommandLine(c *cli, cmd *cobra.Command, command []string, f *runFlags) error {
	directory, err := workingDirectory(c.getenv("PWD"))
	if err != nil {
		return err
	}
	var holdLimit *int
	if cmd.Flags().Changed("hold-limit") {
		holdLimit = &f.holdLimit
	}
	app, err := config.FromCommand(config.CommandOptions{
		Command: command, Directory: directory, Environ: c.env,
		Name: f.name, Listen: f.listen, Ready: f.ready, Reload: f.reload, Relay: f.relay, EnvFile: f.envFile, Trusted: f.trusted,
		ReadyTimeout: f.readyTimeout, HoldTimeout: f.holdTimeout, HoldLimit: holdLimit, StopTimeout: f.stopTimeout,
	})
	if err != nil {
		return &api.Error{Exit: api.ExitUsage, Message: err.Error()}
	}
	if !c.quiet && !c.supervision.Restores() {
		printProblems(c.errors(), app.Warnings())
	}
	o := c.daemonOptions(&config.File{Daemon: config.DefaultDaemon(), Apps: []*config.App{app}})
	o.App, o.PidFile = app.Name, f.pidfile
	return daemon.Run(cmd.Context(), o)
}

// workingDirectory prefers $PWD, which keeps symbolic links: in a release that is
// a link, the link is to be resolved anew at every start.
func workingDirectory(pwd string) (string, error) {
	real, err := os.Getwd()
	if err != nil {
		return "", err
	}
	named, err := os.Stat(pwd)
	if err != nil {
		return real, nil
	}
	here, err := os.Stat(".")
	if err == nil && os.SameFile(named, here) {
		return pwd, nil
	}
	return real, nil
}

// runConfiguration runs every app of a configuration file.
func runConfiguration(c *cli, cmd *cobra.Command, f *runFlags) error {
	for _, name := range []string{"name", "listen", "ready", "reload", "relay",
		"ready-timeout", "hold-timeout", "hold-limit", "stop-timeout", "env-file", "trusted"} {
		if cmd.Flags().Changed(name) {
			return usageError(cmd, "--%s is for `run -- COMMAND`; with a configuration, set it in the file", name)
		}
	}
	file, load, err := c.configurationToRun()
	if err != nil {
		return err
	}
	o := c.daemonOptions(file)
	o.Load, o.PidFile = load, cmp.Or(f.pidfile, file.Daemon.Pidfile)
	o.TakeOver = f.takeOver || c.getenv("TIDEOVER_TAKE_OVER") != ""
	return daemon.Run(cmd.Context(), o)
}

// configurationToRun loads the configuration. A supervisor that takes the place of one that has died has the
// configuration that was in force: the file counts again when it is applied.
func (c *cli) configurationToRun() (file *config.File, load func() (*config.File, error), err error) {
	if file = c.supervision.Configuration(); file != nil {
		return file, func() (*config.File, error) { return config.LoadToRun(file.Path) }, nil
	}
	path, err := c.configPath("")
	if err != nil {
		return nil, nil, err
	}
	load = func() (*config.File, error) { return config.LoadToRun(path) }
	if file, err = load(); err != nil {
		return nil, nil, c.reportInvalidConfig(err)
	}
	if !c.quiet {
		printProblems(c.errors(), file.Warnings)
	}
	return file, load, nil
}

// daemonOptions are the options of a daemon that this command line decides.
func (c *cli) daemonOptions(file *config.File) daemon.Options {
	return daemon.Options{
		Version: version, Config: file, Supervision: c.supervision,
		Socket: c.socket, RuntimeDir: c.dirs[0],
		Stdin: c.stdin, Stdout: c.results(), Stderr: c.errors(), Getenv: c.getenv,
		Verbose: c.verbose, Quiet: c.quiet,
	}
}
