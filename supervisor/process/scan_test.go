package process

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"
)

// BenchmarkScan is one scan for the members of a tree of two processes without a cgroup, on a machine
// with 300 foreign processes of the same user.
func BenchmarkScan(b *testing.B) {
	k := launch(b, noCgroup, Spec{}, "master", "sleep")
	k.readyPids(b)
	foreign := exec.Command("sh", "-c", "for i in $(seq 300); do sleep 1000 & done; echo; wait")
	foreign.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := foreign.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := foreign.Start(); err != nil {
		b.Fatal(err)
	}
	defer foreign.Wait()
	defer syscall.Kill(-foreign.Process.Pid, syscall.SIGKILL)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if found, err := k.tree.members(); err != nil || len(found) != 2 {
			b.Fatal(found, err)
		}
	}
}
