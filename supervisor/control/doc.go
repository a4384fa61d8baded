// Package control is the conversation between a running daemon and the
// commands people type: HTTP/1.1 and JSON on a unix socket.
//
// Everything the socket offers stands in one table (routes.go): the path, who
// may ask, and the handler. The Server answers from a Daemon; the Client has
// one typed method for each entry and is all that commands use.
//
// Who may ask is the kernel's word (SO_PEERCRED at every accept), not the
// peer's: root and the daemon's own user may do everything, members of
// socket_group may reload, hold, release and look, everybody else nothing. The
// credentials are those of the moment of connecting, so connections are short:
// one request each.
//
// Operations that take time answer with JSON lines, one event each, as things
// happen; the last line is the result. A caller that goes away stops waiting
// and nothing else, with one exception that is the purpose of it: a hold made
// for a command ends with the connection that asked for it.
//
// No request carries a path to run, an argument list or an environment: these
// come from the configuration only. There is no TCP.
package control
