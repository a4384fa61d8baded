// Package gate decides whether a request passes, and to which target.
//
// A [Gate] is open when it has a [Target], no hold is set and nothing is refused. Shut, it holds
// requests in the order of their arrival and releases them, oldest first, when it opens. A [Target]
// is one generation of the app: the address to dial, the number of requests in flight and the set
// of open connections. Where the app opens its listening socket itself, the target is suspended
// until the supervisor has a [Proof] that the app's own processes listen there; meanwhile the gate
// is shut.
//
// The package is pure: no network, no files, only time, so that a fake clock covers it. Package
// remote moves gates and targets, as the supervisor desires; package proxy asks them for each request. Nothing here calls
// into either of them, except through [Owner] and [Conn], with no lock held.
package gate
