// Package proxy is the road between a client and an app: it accepts connections, holds requests at a gate while no process can
// answer, relays each to one target and accounts for how it ended.
//
// The supervisor meets the relay at three types. A [gate.Gate] decides who may pass and to which target; a [gate.Target] is the
// name and the dial address of one generation and counts what is out on it; a [Server] drives them for real connections. Nothing
// here knows a process or a configuration file, and nothing here calls back: the supervisor moves the gate, the proxy reads where
// it stands.
//
// A server is a loop over an epoll set (loop_linux.go). An idle or held client is a slot in it and no goroutine; a request without
// a body flies through it without waiting for anything (seat_linux.go, flight_linux.go, berth_linux.go). Whatever takes longer
// goes away to a goroutine, which runs the request to its end in a straight line (errand_linux.go, exchange.go, relay.go, body.go,
// tunnel.go), and comes back.
package proxy
