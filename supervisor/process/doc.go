// Package process starts, signals and stops one process tree, and verifies that it is
// gone. A Process is started once; a restart is another Process. It builds on Linux only.
//
// The tree is the main process and all processes that descend from it, such as workers,
// also those in a session of their own. Its members are found by a cgroup if the daemon
// can create one, and always by session, by descent and by a token in the environment, so
// that a stop leaves none.
//
// The package knows nothing of HTTP, of restarts and of configuration. main must call
// Shim first.
package process
