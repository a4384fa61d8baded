// Package netpoll has the parts of an event loop on Linux: an epoll set that Go's runtime can wait
// for ([Poller]), a queue by which other goroutines reach the loop ([TaskQueue]), lists of timeouts
// ([List]), and system calls on sockets that never block.
//
// It knows nothing of HTTP or of the proxy. A loop that is built from it runs on one goroutine;
// only the methods of TaskQueue that say so may be called from another one.
package netpoll
