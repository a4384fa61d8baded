// Package logs reads what children write to their pipes, keeps it in memory and writes
// it to a file, to the daemon's own output, to the systemd journal and to followers.
//
// A child never waits. One goroutine per pipe only reads into a ring of bounded size,
// and one goroutine per sink writes. If a disk, a terminal or a follower is too slow,
// whole lines are dropped and counted, and a line in their place says how many.
//
// What was read of a pipe and is not in the file yet is in a Spool, which outlives the
// process: no line is lost, doubled or torn when it is killed.
//
// The last lines of every recent generation stay in memory after it has failed, because
// they usually say why.
package logs
