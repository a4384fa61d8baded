// Package supervisor keeps apps running: which apps exist, which generation of
// each serves, when one is restarted.
//
//	control goes down                     data goes across, and never comes here
//
//	Supervisor                            listener   the door
//	    App         one goroutine owns it     proxy  gate -> relay -> target
//	        reload  reads from top to bottom
//	        Generation   private socket + process tree + target
//
// It moves the gate and never touches a request: it meets package proxy at
// Gate, Target and the Server it starts, so a request can never wait for
// anything that happens here. Leaves are called, and answer by channel or by
// snapshot; none of them calls back.
//
// A generation comes up in a goroutine of its own (boot: hook, start, first
// answer) and goes in another one (departure); the app's goroutine owns both
// and waits for neither.
//
// What always holds: a generation that serves is not stopped before its
// successor answers (reload), or not before requests are held (restart); a
// failed reload changes nothing that serves; when a generation is gone, no
// process of it exists; ExitOK of a reload means that the new code answers.
package supervisor
