package main

import (
	"context"
	"io"
	"os"

	"tideover/supervisor/process"
)

func main() {
	process.Shim()
	os.Exit(Main{}.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// Main is the program as a value. The zero value is the program as it is
// installed.
type Main struct {
	// Dirs are where clients look for daemons and, the first one, where
	// daemons keep their sockets; nil: the user's.
	Dirs []string
}

// Run runs one command line and returns its exit code. It uses nothing of the
// process but what it is given, its working directory, its user, and signals.
// The writers may be used by several goroutines at once.
func (m Main) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	c := newCLI(m.Dirs, stdin, stdout, stderr, env)
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return c.conclude(root.ExecuteContext(ctx))
}
