package process

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

func TestUsageIsThatOfAProcessAndItsDescendants(t *testing.T) {
	// A shell that has waited for a busy child, and has another one that sleeps.
	ready, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command("sh", "-c", `i=0; (while [ $i -lt 200000 ]; do i=$((i+1)); done); sleep 600 & echo ready; wait`)
	cmd.Stdout = written
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	written.Close()
	defer cmd.Wait()
	defer func() {
		all, _ := Descendants(cmd.Process.Pid)
		for _, pid := range all {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
	}()
	ready.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := ready.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	used, err := UsageOf([]int{cmd.Process.Pid, os.Getpid(), 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	shell, self := used[cmd.Process.Pid], used[os.Getpid()]
	if shell.Processes != 2 || shell.Memory == 0 || shell.CPU < 2*ClockTick {
		t.Errorf("the shell: %+v", shell)
	}
	if age := time.Since(began); shell.Age <= 0 || shell.Age > age+ClockTick || shell.CPU > time.Duration(runtime.NumCPU())*(shell.Age+ClockTick) {
		t.Errorf("the shell, started %v ago: %+v", age, shell)
	}
	if self.Processes != 1 || self.Memory < 1<<20 {
		t.Errorf("this process, without the shell, which has a usage of its own: %+v", self)
	}
	if none := used[1<<30]; none != (Usage{}) {
		t.Errorf("no process: %+v", none)
	}
}
