// Package process is one operating system process tree, once: started through the exec shim, signalled, stopped, and verified
// to be gone. A Process is never started twice; who wants another one starts another one.
//
// The tree is the main process and everything that came of it: workers, and what has put itself into a session of its own. It
// is held together by a cgroup where the machine lets us make one, and everywhere by session, descent and a token in the
// environment, so that nothing of it survives a stop.
//
// The package knows nothing of HTTP, of restarts and of configuration. main must call Shim first.
package process
