package process

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A connection is counted from accept(2) on until the server closes it, whatever its client does.
func TestAcceptedConnectionsAreThoseOnTheSideOfTheServer(t *testing.T) {
	for _, listen := range [][2]string{{"unix", filepath.Join(t.TempDir(), "with two blanks")}, {"tcp", "127.0.0.1:0"}, {"tcp", "0.0.0.0:0"}, {"tcp", "[::]:0"}} {
		l, err := net.Listen(listen[0], listen[1])
		if err != nil {
			if listen[1] == "[::]:0" {
				t.Log(err) // a kernel without IPv6
				continue
			}
			t.Fatal(err)
		}
		defer l.Close()
		count := func(want int, when string) {
			t.Helper()
			if n, err := AcceptedConnections(listen[0], l.Addr().String()); n != want || err != nil {
				t.Errorf("%s, %s: %d, %v, want %d", l.Addr(), when, n, err, want)
			}
		}
		dial := func() net.Conn {
			address := l.Addr().String()
			if listen[0] == "tcp" {
				_, port, _ := net.SplitHostPort(address)
				address = net.JoinHostPort("127.0.0.1", port)
			}
			c, err := net.Dial(listen[0], address)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first, second, third := dial(), dial(), dial()
		defer second.Close()
		count(0, "in the backlog")
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		count(1, "accepted")
		first.Close()
		third.Close()
		count(1, "left by its client")
		accepted.Close()
		count(0, "closed")
	}
}

func TestATreeIsStoppedWhenAllOfItsProcessesAre(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "sleep")
	if _, err := k.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stopped := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(waitLimit); ; { // the signal takes effect a moment later
			a, err := k.Activity()
			if err == nil && a.Stopped == want && k.MainStopped() == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("stopped %v %v, %v", a.Stopped, k.MainStopped(), err)
			}
		}
	}
	stopped(false)
	syscall.Kill(k.Pid(), syscall.SIGSTOP)
	stopped(true)
	before, err := k.Activity()
	if err != nil {
		t.Fatal(err)
	}
	now, err := k.Activity()
	if cpu, same := now.Since(before); cpu != 0 || !same || err != nil {
		t.Errorf("a stopped process has used %v: %v, %v", cpu, same, err)
	}
	syscall.Kill(k.Pid(), syscall.SIGCONT)
	stopped(false)
}

func TestActivityOfAnotherSetOfProcessesSaysNothingAboutTheirTime(t *testing.T) {
	one, other := stat{pid: 7, start: 1, ticks: 5}, stat{pid: 7, start: 2, ticks: 9}
	if cpu, same := activityOf([]stat{one}).Since(activityOf([]stat{other})); same {
		t.Errorf("another process with the same pid: %v", cpu)
	}
	if _, same := activityOf([]stat{one, other}).Since(activityOf([]stat{one})); same {
		t.Error("a process more")
	}
	busy := one
	busy.ticks += 3
	if cpu, same := activityOf([]stat{busy}).Since(activityOf([]stat{one})); !same || cpu != 30*time.Millisecond {
		t.Errorf("%v, %v", cpu, same)
	}
	if activityOf(nil).Stopped {
		t.Error("a tree without a process is stopped")
	}
}

// The sum of the resident set sizes is never less than that of the proportional ones, and enough
// where it is below the limit.
func TestMemoryAboveReadsPagesOnlyNearTheLimit(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "sleep")
	if _, err := k.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	need, err := k.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if n, above, err := k.MemoryAbove(1 << 40); above || n < need/2 || err != nil {
		t.Errorf("%d, %v, %v", n, above, err)
	}
	if n, above, err := k.MemoryAbove(1 << 10); !above || n < need/2 || n > 2*need || err != nil {
		t.Errorf("%d of %d, %v, %v", n, need, above, err)
	}
}

func TestAConnectionThatTheKernelListsTwiceCountsOnce(t *testing.T) {
	const line = "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 20 4 30 10 -1\n"
	table := filepath.Join(t.TempDir(), "tcp")
	if err := os.WriteFile(table, []byte(line+line), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := acceptedTCP(table, netip.MustParseAddrPort("127.0.0.1:8080")); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
