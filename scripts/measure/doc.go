// Command measure lets tideover and the servers that people would put in its place do the same work side by side, and prints what
// each of it cost. scripts/bench builds it.
//
// All run at once, each with a configuration of its own in front of the cheapest possible backend, and are measured in interleaved
// rounds: one after the other, then again. What counts is the time on a processor of all processes of a server, by the kernel's own
// books, divided by the requests that were answered: on a machine that does other things as well, such a ratio stays what it is.
package main
