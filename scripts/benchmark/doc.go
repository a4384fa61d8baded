// Command benchmark lets tideover and the servers that people would put in its place do the same
// work side by side, and prints what it cost each of them. scripts/bench builds it.
//
// All servers run at once, each with a configuration of its own in front of the cheapest possible
// app, and are measured in interleaved rounds: one after the other, then again. What counts is the
// CPU time of all processes of a server divided by the requests that were answered: on a machine
// that does other things as well, the ratio of two servers stays what it is.
//
// With -before, a second tideover binary takes part (before.go).
package main
