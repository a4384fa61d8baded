// Package listener owns the listening sockets: the public ones, which are opened
// once and kept for the daemon's whole life, the private ones, one for each
// generation of an app, those that a service manager passes in, and those that are
// duplicated out of another process. It builds on Linux only.
//
// This process accepts from a public socket, or shares it with children that do (Share).
//
// It knows nothing of HTTP and nothing of processes. A private socket listens before
// its child runs, so connections that arrive meanwhile wait in the backlog. The
// daemon keeps a duplicate of it, so connections in the backlog are not reset when
// the child dies, and can be reclaimed.
package listener
