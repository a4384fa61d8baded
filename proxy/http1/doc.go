// Package http1 reads and writes HTTP/1.1 messages on bytes. It does no I/O, starts nothing, knows no clock, and
// allocates nothing per message once its slices have grown to size.
//
// It is strict wherever leniency has had a CVE: what it cannot read in exactly one way it refuses, with one fixed
// status for each rule. What it writes is always canonical, whatever spelling it read: one message in, zero or one
// message out.
package http1
