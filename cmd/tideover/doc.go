// Command tideover keeps Python web apps answering while they restart.
//
// This package turns arguments into one call of the daemon's API and its
// answer into text; it decides nothing. There is one file for each verb. What
// verbs share: cli.go (flags, errors, exit codes), targets.go (which app, which
// daemon), screen.go (terminals and colours), progress.go (phases as they
// happen) and result.go (how it ended).
//
// Results go to standard output, progress and errors to standard error. The
// scripts in testdata are the specification.
package main
