// Package generation starts and stops the incarnations of an app. A generation has
// a number, a private socket, a process tree and, for a web app, a target to which
// the gate sends requests.
//
// A Launcher does it in two sequences, each on a goroutine of its own:
//
//	Startup    hook before_start, spawn, readiness probe      startup.go
//	Teardown   drain, stop signal, SIGKILL, verified empty    teardown.go
//
// Without a relay the child inherits the public sockets, and there is no target. gunicorn has a
// private socket beside them, for the readiness probe.
//
// Where the child opens its listening socket itself ({socket}, {port}), a childListener
// proves that a process of the tree listens, before anything is sent and again after each
// connect that fails.
//
// The caller decides when the gate is switched to a generation, and what follows a
// failure.
package generation
