// Package control is the control socket of a daemon: HTTP/1.1 and JSON on a unix
// socket.
//
// routes.go is the table of all paths: the role that each needs, and its handler.
// Server answers from a Backend (call.go is one request and its response,
// messages.go what is sent, admission.go which connections are served). Client has a method for each path; hold_client.go is
// a hold that ends with its connection. socket.go makes the socket, paths.go says
// where sockets are, and discover.go finds daemons and apps by them.
//
// The role of a client follows from its credentials (peer_linux.go): root and the
// daemon's own user may do everything, members of socket_group may reload, hold,
// release and look, all others nothing. Credentials are those at the time of
// connecting and are asked for before a byte is read, so a connection has one
// request. A client checks the credentials of the daemon in the same way. The admin process has
// one end of a socket pair instead (viewer.go), which shows it the state of the apps only.
//
// Operations that take time answer with JSON lines, one event each; the last line
// is the result. A client that leaves does not end its operation, with one
// exception: an attached hold ends with its connection.
//
// No request carries a command or an environment: these come from the
// configuration only. There is no TCP.
package control
