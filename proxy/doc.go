// Package proxy is the road between a client and an app: it accepts connections, holds requests at a gate while no process can
// answer, relays each to one target and accounts for how it ended.
//
// The supervisor meets this package at two types. A [Gate] decides who may pass and to which target; a [Target] is the name and
// the dial address of one generation and counts what is out on it. Nothing here knows a process or a configuration file, and
// nothing here calls back: the supervisor moves the gate, the proxy reads where it stands.
//
// gate.go, queue.go, observe.go, target.go and ledger.go are pure: no network, no files, only time, so that a fake clock covers
// them. A [Server] drives them for real connections. Its request handling never owns a connection but a client handle, which can
// be read, written, waited on and closed; the gate queues those handles, never goroutines; and an upstream connection owns its
// own reader. At that seam there are two engines, and every test of the relay runs on both.
//
// The portable one has a goroutine for each connection and runs a request from its first byte to its end in a straight line
// (exchange.go, relay.go, body.go, tunnel.go). The parked one, which serves wherever it can, is a loop over an epoll set
// (loop_linux.go): an idle or held client is a slot in it and no goroutine, a request without a body flies through it without
// waiting for anything (seat_linux.go, flight_linux.go, berth_linux.go), and whatever takes longer goes away to the straight line
// (errand_linux.go) and comes back.
package proxy
