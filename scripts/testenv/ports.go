package testenv

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// The ports are below the kernel's ephemeral range (32768 and up), so that no
// outgoing connection can take one between the test in Port and the server's
// bind. Each is returned once.
const (
	firstPort = 12000
	lastPort  = 32000
)

// handedOut counts the ports from firstPort on that were returned or passed over.
var handedOut atomic.Int64

// Port returns a free TCP port of 127.0.0.1.
func Port() (int, error) {
	return consecutive(1, 1)
}

// Ports returns the first of n free TCP ports of 127.0.0.1 that follow each other. It is a
// multiple of ten, and n is at most ten.
func Ports(n int) (int, error) {
	return consecutive(n, 10)
}

func consecutive(n, multiple int) (int, error) {
	handedOut.CompareAndSwap(0, int64(os.Getpid())*37)
	for range 1000 {
		before := handedOut.Load()
		first := (before/int64(multiple) + 1) * int64(multiple)
		if !handedOut.CompareAndSwap(before, first+int64(n)-1) {
			continue
		}
		if port := firstPort + int(first%(lastPort-firstPort)); free(port, n) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports between %d and %d", n, firstPort, lastPort)
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// Address returns a free TCP address of 127.0.0.1.
func Address() (string, error) {
	port, err := Port()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
