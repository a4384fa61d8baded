package testenv

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

// manyPorts is more than a block.
const manyPorts = 3 * blockSize

// The test binary is also another program that takes ports: it prints them and lives until its input
// ends.
func TestMain(m *testing.M) {
	if os.Getenv("TESTENV_PRINT_PORTS") == "" {
		os.Exit(m.Run())
	}
	for range manyPorts {
		port, err := Port()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(port)
	}
	io.Copy(io.Discard, os.Stdin)
}

// Tests of several packages run at the same time.
func TestTwoProgramsAreGivenDifferentPorts(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "TESTENV_PRINT_PORTS=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	others := map[int]bool{}
	for lines := bufio.NewScanner(out); len(others) < manyPorts && lines.Scan(); {
		port, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(lines.Text())
		}
		others[port] = true
	}
	if len(others) != manyPorts {
		t.Fatalf("the other program has %d ports, want %d", len(others), manyPorts)
	}
	for range 5 * manyPorts {
		port, err := Port()
		if err != nil {
			t.Fatal(err)
		}
		if others[port] {
			t.Errorf("port %d is the other program's, too", port)
		}
	}
}

// Tests that run at the same time must never be given the same port, also not between the test
// for a free one and the server's bind.
func TestEachPortIsHandedOutOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			n, next := 1, Port
			if i%4 == 0 {
				n, next = 3, func() (int, error) { return Ports(3) }
			}
			for range 20 {
				first, err := next()
				if err != nil {
					t.Error(err)
					return
				}
				if n > 1 && first%10 != 0 {
					t.Errorf("the first of %d ports is %d", n, first)
				}
				mu.Lock()
				for port := first; port < first+n; port++ {
					if seen[port] {
						t.Errorf("port %d was returned twice", port)
					}
					seen[port] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}
