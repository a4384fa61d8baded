//go:build relay_process

package daemon

const relayIsProcess = true
