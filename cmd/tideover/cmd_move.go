package main

import (
	"cmp"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"tideover/cmd/tideover/internal/move"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
	"tideover/supervisor/supervisordconf"
)

// movedConfig is the configuration of a move that names none, where the service looks for it.
const movedConfig = "/etc/tideover/tideover.toml"

func newMoveCommand(c *cli) *cobra.Command {
	o := move.Options{}
	back := false
	cmd := &cobra.Command{
		Use:   "move [--back] [--dry-run]",
		Short: "Take over what a supervisord runs, or give it back",
		Example: `  tideover move --dry-run     what would be done
  tideover move               supervisord goes on, with its programs stopped
  tideover move --back        supervisord runs them again, tideover ends`,
		Long: `The configuration is that of -c, else /etc/tideover/tideover.toml; import makes
it if it is not there. Nothing is stopped before every user, directory and
command was found and the new web processes answer. Their listening sockets are
duplicated out of the old ones, which needs root or CAP_SYS_PTRACE: no request
is lost. Otherwise, and with --back, the addresses are bound again, and how
long they refused requests is printed. After an error, or Ctrl-C, all goes back.
When the terminal is closed it goes on. If it was killed, --back gives back what
was moved.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return moveApps(c, cmd, o, back) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&back, "back", false, "from tideover to supervisord")
	flags.BoolVarP(&o.DryRun, "dry-run", "n", false, "show what would be done")
	flags.StringVar(&o.Supervisord, "supervisord", "", "`FILE` that supervisord runs with (default: in /etc)")
	flags.StringVar(&o.Log, "log", "/var/log/tideover.log", "`FILE` for tideover's output where systemd does not start it")
	flags.StringArrayVar(&o.Leave, "leave", nil, "`NAME` of a program that stays with supervisord, repeatable")
	flags.IntVar(&o.Jobs, "jobs", 4, "`N` apps go over at the same time")
	return cmd
}

func moveApps(c *cli, cmd *cobra.Command, o move.Options, back bool) error {
	ctx, cancel := c.waitContext(cmd.Context())
	defer cancel()
	ends := make(chan os.Signal, 1) // the end of the terminal, or of a pager, does not end a move halfway
	signal.Notify(ends, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Stop(ends)
	o.Environ, o.Out, o.Systemd = c.env, c.stdout, move.HasSystemd()
	for _, usual := range []string{"/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"} {
		if _, err := os.Stat(usual); err == nil && o.Supervisord == "" {
			o.Supervisord = usual
		}
	}
	if o.Supervisord == "" {
		return usageError(cmd, "name the file that supervisord runs with: --supervisord FILE")
	}
	path, err := filepath.Abs(cmp.Or(c.config, movedConfig))
	if err != nil {
		return err
	}
	o.Config = path
	if o.Binary, err = os.Executable(); err != nil {
		return err
	}
	if !back {
		if o.Config, err = c.importForMove(o, path); err != nil {
			return err
		}
		if o.Config != path {
			defer os.Remove(o.Config)
		}
	}
	file, err := config.Load(o.Config)
	if err != nil {
		return c.reportInvalidConfig(err)
	}
	if problems := file.Inspect(); !back && countErrors(problems) > 0 {
		return c.reportInvalidConfig(config.NewError(problems))
	}
	o.NamedSocket = c.socket != ""
	o.Socket = cmp.Or(c.socket, file.Daemon.Socket, control.SocketPath(cmp.Or(file.Daemon.RuntimeDir, c.dirs[0]), ""))
	run := move.There
	if back {
		run = move.Back
	}
	if err = run(ctx, o); err != nil {
		var faults *config.Error
		if errors.As(err, &faults) {
			return c.reportInvalidConfig(faults)
		}
		return errorf(api.ExitError, "", "%v", err)
	}
	return nil
}

// importForMove makes the configuration if it is not there. A dry run makes one that its caller
// removes.
func (c *cli) importForMove(o move.Options, path string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		c.note("%s is used as it is", path)
		return path, nil
	}
	text, notes, err := supervisordconf.Import(o.Supervisord, supervisordconf.Options{Environ: c.env})
	if err != nil {
		return "", c.reportInvalidConfig(err)
	}
	for _, n := range notes {
		c.note("%s", n)
	}
	if o.DryRun {
		f, err := os.CreateTemp("", "tideover-*.toml")
		if err != nil {
			return "", err
		}
		defer f.Close()
		_, err = f.Write(text)
		return f.Name(), err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := writeImported(c, o.Supervisord, path, text); err != nil {
		return "", err
	}
	c.note("%s is written", path)
	return path, nil
}
