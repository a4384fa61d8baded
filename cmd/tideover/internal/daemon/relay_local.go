//go:build !relay_process

package daemon

// relayIsProcess says that a process of its own relays. GOFLAGS=-tags=relay_process builds a daemon
// where it does; the e2e tests build with the GOFLAGS of their environment.
const relayIsProcess = false
