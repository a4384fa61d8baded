// Package proxy relays HTTP/1.1 between the clients of an app and its processes. It accepts
// connections, holds requests at a gate while no process can answer, forwards each request to one
// target and counts how it ended.
//
// Package remote alone meets the package at three types: it moves a [gate.Gate] and its
// [gate.Target], and starts and closes a [Server]. Nothing here knows a process or a configuration file, and
// nothing here calls back into the supervisor.
//
// # How a request flows
//
// An acceptor (acceptor.go) accepts the connection and registers it with the event loop
// (eventloop.go) as a loopClient. When the client sends bytes, the loop parses the head
// (loop_client.go), in one piece or in many, and asks the gate. A request without a body that passes is written to the app,
// and its response to the client, without leaving the loop (loop_roundtrip.go, on a connection of
// loop_upstream.go). A request that is held is an entry in the gate's queue.
//
// Everything that may take longer is offloaded (offload.go) to a goroutine: a request with a body, a
// response that is long or slow to be read, a failure, an error response, a tunnel. There the code runs from top to bottom and blocks: blocking_client.go reads
// the head and the body and waits at the gate, blocking_roundtrip.go forwards the request and
// copies the response, upload.go sends the rest of a body and watches for the client's disconnect,
// tunnel.go copies both ways after a 101, error_response.go answers for the app. Then the
// connection goes back to the loop.
//
// What both sides share is passive: exchange.go is one request, client_conn.go what is known of its
// client, roundtrip.go one attempt to send it, body.go its body, stored_body.go what was read ahead
// of that, retry.go the rule that decides whether it may be sent again.
//
// # The client's address
//
// How the app learns it is an option of the target (gate.PeerPassing). A gunicorn at a unix socket
// reads it from a PROXY line (package proxyproto) before the first request of a connection. Such a
// connection is its client's own: while it is idle it is kept at the loopClient, so that it costs no
// search and ends with the client, and at most 256 of them are kept in all. The line and the
// request go out in one write: a connection on which nothing was written stays one on which nothing
// was written. A request that is sent again is written anew, for its new target. An ASGI server
// gets an X-Forwarded-For of one address instead.
//
// Behind a load balancer (Settings.ListenProxyProtocol) the first bytes of a client's connection are
// a PROXY header, which the loop reads (proxy_header.go). From then on the address in it is the
// client's.
//
// # Slow clients
//
// A worker of gunicorn's sync and gthread classes serves one connection at a time. For such an app
// (Settings.Buffering) a request passes the gate when its body is complete: up to Settings.Buffer
// in memory, then in the spool (package spool). What the spool does not take, because it is full,
// slow or broken, is streamed to the app, and so is a long body that comes as fast as a front-end
// sends it. A streamed body goes through a pipe (netpoll.Pipe) where much of it is to come, and is
// not copied.
//
// In the other direction a response is written to the client as it comes. What the client does not
// take within 10 ms is stored in the same two places (stored_response.go), and a second goroutine
// sends it, while the first one goes on to read what the app writes. When the app has written
// everything, its connection and the pass are given back: for the target the request has ended, and
// for the client it ends when everything was sent, or the connection fails. Only then is it counted;
// Server.WaitSent waits for such responses. Where neither memory nor the spool has room, the app
// waits for the client. When the spool is full, clients that would keep their space longest are
// disconnected (decision 0010).
//
// # Many clients
//
// Every client costs one descriptor, in the loop and on a goroutine. How many there can be is what
// Settings.MaxConnections and package connlimit say, which all servers share; room.go chooses the
// connections that are closed for new ones.
//
// # Ownership
//
// All state of a connection has one owner at a time, the event loop or one goroutine, and the type
// says which: a loopClient and a loopUpstream belong to the loop, a blockingClient and a
// blockingUpstream to a goroutine. Each pair shares a core, a clientConn and a roundTrip. detach
// turns the one into the other and takes the core away from the former owner, so that a mistake is
// a nil pointer and no data race. Idle connections to the app belong to the loop: a goroutine
// borrows one and gives it back.
//
// Across that line go only: tasks for the loop (netpoll.TaskQueue), the gate's decisions
// (OnDecision, which posts a task or interrupts the goroutine), Close of a connection to the app,
// and the end of a goroutine's read (conn.interrupt) or of its client's connection (conn.shutdown).
// While a goroutine reads a response, a second one, its upload, reads the client's connection, and a
// third one, the sender of a stored response, writes it; what they share is in the types upload and
// storedResponse.
//
// The event loop never blocks and allocates nothing for a request in the steady state;
// TestPriceOfARequest holds it to that.
package proxy
