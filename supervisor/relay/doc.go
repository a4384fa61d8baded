// Package relay keeps the process that relays. [Role] is that process; a [Keeper] starts it, starts
// another one when it has died, and is a remote.Relay that outlives each of them.
//
// # A relay that dies
//
// The listening sockets stay open in the supervisor, so clients that connect wait in the backlog.
// The next relay gets the last Set of each app, the proofs, and then the sockets. Requests in
// flight and held in the former one are lost. No app's process is touched.
//
// A relay that does not answer for 10 s is killed. The supervisor's own stops do not count.
//
// # A relay that panics
//
// A panic costs the connection that was served. The relay asks for another one to take its place,
// which is restored in the same way; then the former one shuts its doors and drains: it finishes what it
// has, gets every change meanwhile, and ends with its last connection. At most one relay drains.
package relay
