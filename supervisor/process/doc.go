// Package process starts, signals and stops one process tree, and verifies that it is
// gone. A Process is started once; a restart is another Process. It builds on Linux only.
//
// The tree is the main process and all processes that descend from it, such as workers,
// also those in a session of their own. If the daemon can create a cgroup, its members are
// the tree, and no others. Otherwise they are found by session and descent, of any user,
// and orphans by user and by a token in the environment: see membership.go, also for the
// processes that cannot be found.
//
// The package knows nothing of HTTP, of restarts and of configuration. main must call
// Shim first.
package process
