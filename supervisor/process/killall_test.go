package process

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The last resort of a shutdown ends every tree, also processes that ignore SIGTERM, that are
// stopped, or that have left their session, and no tree can be started afterwards.
func TestKillAllEndsEveryTree(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, 0, "cgroup", t.TempDir())
	trees := []*testTree{
		d.start("deaf", appUser, "deaf"),
		d.start("frozen", otherUser, "frozen"),
		d.start("session", appUser, "leave-session"),
		d.startWith(superviseRequest{Name: "cgroup"}, "deaf"),
	}
	if reply := d.do(superviseRequest{Do: "kill-all"}); len(reply.Left) > 0 {
		t.Errorf("left: %v", reply.Left)
	}
	for _, tree := range trees {
		for _, pid := range append(tree.others, tree.main) {
			if s, err := readStat(pid); err == nil && s.alive() {
				t.Errorf("%s: pid %d lives", tree.name, pid)
			}
		}
	}
	if err := d.in.Encode(superviseRequest{Do: "start", Name: "late", Argv: []string{"/proc/self/exe", "testprogram", "sleep"}}); err != nil {
		t.Fatal(err)
	}
	var reply superviseReply
	if err := d.out.Decode(&reply); err != nil || !strings.Contains(reply.Err, errEnding.Error()) {
		t.Errorf("a start afterwards: %+v, %v", reply, err)
		unix.Kill(reply.Pid, unix.SIGKILL)
	}
}
