// Package rpc is a remote.Relay in another process. A [Client] sends each call of the supervisor
// over a channel; [Serve] executes them in the process that relays.
//
// Messages are the types of package remote in JSON: unknown fields are ignored and absent ones are
// zero, so that fields can be added. A relay that drains must understand a later supervisor: the
// numbers of the methods and the meanings of the fields do not change.
//
// A supervisor that takes the place of a dead one sends the relay another channel (Attach), and asks
// what it has (Client.Describe). What the former one has sent is executed before; its marks and waits
// are forgotten.
//
// The relay is the less trusted side. The supervisor accepts from it no descriptor but the
// connections that it has asked for, and no message longer than maxFromRelay.
package rpc
