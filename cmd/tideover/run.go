package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// runFlags are the flags of run; most stand for a key of the configuration
// that `run -- COMMAND` does not have.
type runFlags struct {
	name, ready, reload, pidfile           string
	listen, envFile                        []string
	readyTimeout, holdTimeout, stopTimeout time.Duration
	holdLimit                              int

	estate *handoff.State // not a flag, but it is there before them
}

func runVerb(c *cli) *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [-c FILE] | run [flags] -- COMMAND...",
		Short: "Keep apps running and answering, in the foreground",
		Example: `  tideover run -- gunicorn -w 4 app:app    the command you type today
  tideover run -c tideover.toml            every app of a configuration`,
		RunE: func(cmd *cobra.Command, args []string) error { return runDaemon(c, cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // so that a forgotten -- does not make the command's flags ours
	flags.StringVar(&f.name, "name", "", "`NAME` of the app (default: the directory's)")
	flags.StringArrayVar(&f.listen, "listen", nil, "`ADDRESS` for clients, repeatable (default: the command's)")
	flags.StringVar(&f.ready, "ready", "", "`PATH` that must answer before new code serves")
	flags.StringVar(&f.reload, "reload", "", "`MODE` overlap, or replace: never two copies")
	flags.DurationVar(&f.readyTimeout, "ready-timeout", 0, "`TIME` for the first answer (default: 60s)")
	flags.DurationVar(&f.holdTimeout, "hold-timeout", 0, "`TIME` a request may wait at most (default: 30s)")
	flags.IntVar(&f.holdLimit, "hold-limit", 0, "`N` requests may wait (default: 1000)")
	flags.DurationVar(&f.stopTimeout, "stop-timeout", 0, "`TIME` to end; then it is killed (default: 35s)")
	flags.StringArrayVar(&f.envFile, "env-file", nil, "`FILE` of NAME=value lines, read at every start")
	flags.StringVar(&f.pidfile, "pidfile", "", "`FILE` for the daemon's pid")
	completeFlag(cmd, "reload", string(config.Overlap), string(config.Replace))
	return cmd
}

func runDaemon(c *cli, cmd *cobra.Command, args []string, f *runFlags) (err error) {
	if f.estate, err = handoff.Receive(); err != nil {
		return err
	}
	_, command, given := split(cmd, args)
	switch dash := slices.Index(args, "--"); {
	case !given && dash > 0:
		return usage(cmd, "%q stands before the --", strings.Join(args[:dash], " "))
	case given && len(command) == 0:
		return fault(api.ExitUsage, "tideover run -- gunicorn app:app", "there is no command after --")
	case len(args) > 0 && !given:
		return fault(api.ExitUsage, "tideover run -- "+strings.Join(args, " "), "put -- before the command")
	case given && c.config != "" && cmd.Flags().Changed("config"):
		return usage(cmd, "-c FILE and -- COMMAND exclude each other")
	case given:
		return runCommandLine(c, cmd, command, f)
	}
	return runConfiguration(c, cmd, f)
}

// runCommandLine runs one app that has no configuration but its command.
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
		Name: f.name, Listen: f.listen, Ready: f.ready, Reload: f.reload, EnvFile: f.envFile,
		ReadyTimeout: f.readyTimeout, HoldTimeout: f.holdTimeout, HoldLimit: holdLimit, StopTimeout: f.stopTimeout,
	})
	if err != nil {
		return c.refuseConfig(err)
	}
	return newDaemon(c, &config.File{Apps: []*config.App{app}}, app.Name, nil, f).run(cmd.Context())
}

// workingDirectory is the directory's name as the shell knows it: in a
// symlinked release the link is what must be followed anew at every start.
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
	for _, name := range []string{"name", "listen", "ready", "reload", "ready-timeout", "hold-timeout", "hold-limit", "stop-timeout", "env-file"} {
		if cmd.Flags().Changed(name) {
			return usage(cmd, "--%s is for `run -- COMMAND`; with a configuration it stands in the file", name)
		}
	}
	path, err := c.configPath("")
	if err != nil {
		return err
	}
	load := func() (*config.File, error) { return config.Load(path) }
	file, err := load()
	if err != nil {
		return c.refuseConfig(err)
	}
	if !c.quiet {
		listProblems(c.errors(), file.Warnings)
	}
	if f.pidfile == "" {
		f.pidfile = file.Daemon.Pidfile
	}
	return newDaemon(c, file, "", load, f).run(cmd.Context())
}

// writePid leaves our pid for scripts; the file appears whole or not at all.
func writePid(path string) error {
	fresh := path + ".new"
	err := os.WriteFile(fresh, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return fault(api.ExitError, "", "cannot write --pidfile: %v", err)
	}
	return nil
}

// removePid takes the file away, unless it has become another daemon's.
func removePid(path string) {
	if content, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(content)) == strconv.Itoa(os.Getpid()) {
		os.Remove(path)
	}
}
