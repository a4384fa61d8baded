package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/cmd/tideover/internal/supervisorctl"
	"tideover/listener"
	"tideover/supervisor/admin"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

func main() {
	process.Shim()
	admin.Role()
	daemon.RelayRole()
	safepath.Helper()
	listener.Helper()
	if filepath.Base(os.Args[0]) == "supervisorctl" {
		os.Exit(supervisorctl.Run(context.Background(), os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(Main{Monitored: true}.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// Main is the program as a value. Tests run it in their own process.
type Main struct {
	// Monitored says that `run` makes this process the monitor of a supervisor, which it executes with
	// the same command line. Otherwise this process is the supervisor, and has no monitor.
	Monitored bool
	// Dirs are where clients look for daemons; the first one is where daemons
	// keep their sockets. nil: the usual directories of the user.
	Dirs []string
}

// Run runs one command line and returns its exit code. Beside its arguments it
// uses the working directory, the user and the signals of the process. stdout and
// stderr are written from several goroutines.
func (m Main) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	c := newCLI(m.Dirs, stdin, stdout, stderr, env)
	c.monitored = m.Monitored
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	defer c.closeOutput()
	exit := c.exit(root.ExecuteContext(ctx))
	if c.supervision != nil {
		c.closeOutput()
		c.supervision.Done(exit)
	}
	return exit
}
