// Package logs carries what children write: from a pipe into memory, and from
// there to a file, to the daemon's own output and to whoever follows.
//
// A child never waits. One goroutine per pipe only reads, into a queue of
// bounded size; another one writes. When the disk, the terminal or a follower
// is too slow, whole lines are dropped, counted, and their number is said where
// they are missing.
//
// The last lines of every recent generation stay in memory, also after it
// failed, because they usually say why.
package logs
