// Package process is one operating system process tree, once: started through the exec shim, signalled, stopped, and verified gone.
//
// It knows nothing of HTTP and nothing of restarts: a Process is never started twice.
package process
