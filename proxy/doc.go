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
// own reader. That is the seam at which another engine can take the place of the goroutine per client.
package proxy
