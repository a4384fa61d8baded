// Package daemon is the process behind `tideover run`: a supervisor with its
// control socket, and what connects it to the operating system.
//
// Signals become operations (signals.go, sighup.go, upgrade.go), the terminal's
// hangup is told from an operator's HUP (tty.go), systemd is kept informed
// (systemd.go, journal.go), the logger is constructed (logger.go), and files
// have their places (paths.go, pidfile.go). On a terminal
// the first events of the start are printed (startup_view.go).
package daemon
