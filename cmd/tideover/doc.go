// Command tideover keeps Python web apps answering while they restart.
//
// This package turns a command line into one call of the daemon's API and its
// answer into text; it decides nothing. root.go has the command tree, the
// global flags and the exit codes; cmd_VERB.go is the file of a verb. Verbs
// share targets.go (which app, which daemon), output.go (standard output and
// standard error), operation.go and multi.go (what the daemon carries out in
// phases, on one app or several), progress.go and result_view.go (its phases
// and its result).
//
// internal/daemon is the process behind `tideover run`; internal/term lays text
// out. Results go to standard output, progress and errors to standard error.
// The scripts in testdata are the specification.
package main
