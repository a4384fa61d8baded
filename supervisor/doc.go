// Package supervisor keeps apps running: which apps exist, which generation of each
// serves, and when one is restarted.
//
//	Supervisor        supervisor.go   the daemon's operations; New, Run, Shutdown
//	  registry        registry.go     the apps and their public sockets (listeners.go)
//	  App             app.go          one goroutine owns the state of one app
//	    queue         queue.go        requests for operations
//	    operation     operation.go    phases and result; reload.go: what each verb does
//	    restart       restart.go      desired state, backoff
//	    leases        lease.go        holds that end by themselves; hold.go: their API
//	  Apply           reconcile.go    the configuration is read again
//	  relayApp        relay.go       what is desired of the relay for one app
//	  Status          status.go       from the snapshots that the apps publish
//
// It says what is desired of the relay (relay.go) and never touches a request: of package
// proxy it knows the messages of package remote only, so no request can wait for anything
// that happens here. The packages below it are called, and answer by a channel or a
// snapshot; none of them calls back, but the relay asks whether a proof of a child's
// listening socket holds (remote.Prover).
//
// A generation is started (generation.Startup) and stopped (generation.Teardown) on
// goroutines of its own; the app's goroutine handles their results as events.
//
// What always holds: a generation that serves is not stopped before its successor is
// ready (reload), or before requests are held (restart); a failed reload changes
// nothing that serves; when a generation is gone, none of its processes exists;
// ExitOK of a reload means that the new code answers.
package supervisor
