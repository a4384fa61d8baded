// Package listener owns the doors: the public sockets, which are opened once and kept for the daemon's whole life, the private
// sockets, one for each generation of an app, and the sockets a service manager has passed in.
//
// It knows nothing of HTTP and nothing of processes. A private socket listens before its child runs, so that what arrives
// meanwhile waits in the backlog; the daemon keeps it open while the child lives, so that what still waits there when the child
// dies is not reset and can be reclaimed.
package listener
