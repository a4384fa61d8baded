// Package connlimit bounds the client connections of all servers of a process together, and leaves
// descriptors for everything else: connections to the apps, the control socket, the pipes and sockets
// of a generation that starts, logs.
//
// The kernel gives the lowest number that is free. So a new descriptor's number says how many the
// process has in use, of all kinds together, and nothing needs to be counted: a client's connection
// must have a number below a first bound, a connection to an app one below a second bound, and
// what is above that is the reserve.
//
// At the limit, idle connections are closed. The servers are asked one after the other, that with the
// most connections first, until one has closed some. Where all connections are in use, new ones stay
// in the backlog; none is refused.
package connlimit
