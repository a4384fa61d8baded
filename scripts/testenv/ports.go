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

var ports atomic.Int64

// Port returns a free TCP port of 127.0.0.1.
func Port() (int, error) {
	ports.CompareAndSwap(0, int64(os.Getpid())*37)
	for range 1000 {
		port := firstPort + int(ports.Add(1))%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

// Address returns a free TCP address of 127.0.0.1.
func Address() (string, error) {
	port, err := Port()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
