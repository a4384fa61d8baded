package testenv

import (
	"fmt"
	"net"
	"os"
	"sync"
)

// The ports are below the kernel's ephemeral range (32768 and up), so that no
// outgoing connection can take one between the test in Port and the server's
// bind. Each is returned once, and to one of the programs that run at the same
// time: a program takes them from blocks of its own.
const (
	firstPort = 12000
	lastPort  = 32000
	blockSize = 100
)

// portBlocks are the blocks of this program.
var portBlocks struct {
	sync.Mutex
	next, end int            // of the present block
	owned     []net.Listener // whose names say that the blocks are taken; the kernel closes them at the exit
}

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
	b := &portBlocks
	b.Lock()
	defer b.Unlock()
	for {
		first := (b.next + multiple - 1) / multiple * multiple
		if first+n > b.end {
			block, err := takeBlock()
			if err != nil {
				return 0, err
			}
			b.next, b.end = block, block+blockSize
			continue
		}
		b.next = first + n
		if free(first, n) {
			return first, nil
		}
	}
}

// takeBlock returns the first port of a block that no program has. portBlocks must be locked.
func takeBlock() (first int, err error) {
	const blocks = (lastPort - firstPort) / blockSize
	for i := range blocks {
		number := (os.Getpid() + i) % blocks
		var l net.Listener
		if l, err = net.Listen("unix", fmt.Sprintf("@tideover-testenv-ports-%d", number)); err == nil {
			portBlocks.owned = append(portBlocks.owned, l)
			return firstPort + number*blockSize, nil
		}
	}
	return 0, fmt.Errorf("no free ports between %d and %d: %w", firstPort, lastPort, err)
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
