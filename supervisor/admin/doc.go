// Package admin is the admin process: what tideover answers besides the apps' requests and the
// commands of the control socket: /metrics, /-/live and /-/ready on daemon.admin, and clients of
// supervisord on daemon.supervisor_socket and daemon.supervisor_http (package supervisord).
//
// It parses what any client of its address sends, so it is a process of its own, confined
// (supervisor/confine): it makes no socket, opens no file and is no client of anything but the
// supervisor, which it asks over a socket pair (control.ServeViewer), in a role that only looks unless
// clients of supervisord are answered. Its death costs the requests that it was answering.
//
// With [fleet] it takes this host's turns in rollouts (fleet.go, package member): it speaks with etcd over
// connections that the daemon makes for it, and may then reload, hold and drain apps.
//
// keeper.go is the side of the daemon: it binds the addresses, starts the process, verifies its
// confinement, sends it the listening sockets (channel.go), and starts another one when it ends;
// rebind.go binds a unix socket again whose file was removed.
// role.go is the process, web.go what it answers, connections.go its bound for connections, and
// source.go asks the supervisor.
package admin
