package process

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is no child of ours, or another one than was recorded, is not taken up.
func TestAdoptOnlyOurOwn(t *testing.T) {
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	for name, r := range map[string]Record{
		"ourselves":      {Pid: os.Getpid(), StartTime: self.start},
		"nobody":         {Pid: 1 << 30, StartTime: self.start},
		"a reused pid":   {Pid: child.Process.Pid, StartTime: 1},
		"nothing at all": {},
	} {
		r.Name = name
		if p, err := Adopt(r, time.Now()); err == nil || p != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: adopted, %v", name, err)
		}
	}
}

// A child that was taken up is as one that was started: its exit is noticed, with its outcome, and its tree is ended whole. A child may
// be dead already.
func TestAdopted(t *testing.T) {
	for _, dead := range []bool{false, true} {
		child := exec.Command("sh", "-c", "sleep 1000 & read line; exit 7")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		now, err := readStat(child.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if dead {
			in.Close()
			if err := awaitExit(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Adopt(Record{Name: "shop.1", Pid: now.pid, StartTime: now.start}, time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if !dead && (len(p.Members()) == 0 || p.State() != Running) {
			t.Errorf("members %v, %v", p.Members(), p.State())
		}
		in.Close()
		<-p.Exited()
		if o := p.Outcome(); o.Code != 7 || o.Runtime < time.Hour {
			t.Errorf("%v after %v", o, o.Runtime)
		}
		if r := p.Kill(t.Context()); !r.Empty() || !p.Empty() {
			t.Errorf("%+v", r)
		}
	}
}
