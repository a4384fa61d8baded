// Package supervisord answers clients of supervisord: XML-RPC on /RPC2, and /logtail and /mainlogtail
// for `tail -f`. Names of methods, numbers of faults and texts are those of supervisord 4.3.0. What the
// methods ask for is done by the control protocol.
//
// handler.go is HTTP, the password and the fault of a refused call; methods.go is the table of the
// methods; process.go shows an app as a process; operations.go starts, stops and signals; log.go reads
// output.
package supervisord
