// Package servers knows the command lines of web servers other than gunicorn, and of the
// development servers of web frameworks: where they listen, and how they are told to listen
// on a private socket instead. The table in table.go has one entry per server.
//
// Parse reads a command without running anything. Command.Argv returns the command that
// listens on the private socket, with one of the placeholders {fd}, {socket} and {port}.
package servers
