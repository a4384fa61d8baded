package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Where one app takes all that it may there is room for another supervisor, a relay and the reload of another app.
func TestPidsAreLeftToOthers(t *testing.T) {
	for above, want := range map[uint64]uint64{4915: 4787, 512: 384, 100: 75, 3: 3, 0: 0} {
		if got := pidsMax(above); got != want {
			t.Errorf("%d of %d, want %d", got, above, want)
		}
	}
}

// The limit of a service may be that of a slice above it, and "max" is none.
func TestTheLeastLimitAboveCounts(t *testing.T) {
	mount := t.TempDir()
	unit := filepath.Join(mount, "system.slice", "tideover.service")
	if err := os.MkdirAll(unit, 0o755); err != nil {
		t.Fatal(err)
	}
	set := func(dir, limit string) {
		if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(limit+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set(unit, "max")
	if n, limited := leastPidsMax(unit, mount); limited {
		t.Errorf("%d, and there is no limit", n)
	}
	set(filepath.Dir(unit), "300")
	if n, limited := leastPidsMax(unit, mount); n != 300 || !limited {
		t.Errorf("%d, %v, want that of the slice", n, limited)
	}
	set(unit, "200")
	if n, limited := leastPidsMax(unit, mount); n != 200 || !limited {
		t.Errorf("%d, %v, want that of the unit", n, limited)
	}
}

// The kernel gives the children of a cgroup a controller only when no process is in it, and the processes
// of tideover go on beside those of the apps. Any controller will do.
func TestProcessesMakeWayForAController(t *testing.T) {
	own, controller := cgroupWithController(t)
	if own == "" {
		if err := EnablePidsLimits(); err != nil {
			t.Errorf("where no cgroup can have controllers: %v", err)
		}
		return
	}
	k := launch(t, func(string) *cgroup { return &cgroup{own} }, Spec{}, "sleep")
	k.line(t)
	leaf := filepath.Join(own, ownLeaf())
	for range 2 { // a supervisor does what the one before has done
		if err := enableController(controller, own, leaf); err != nil {
			t.Fatal(err)
		}
	}
	if !listsController(filepath.Join(own, "cgroup.subtree_control"), controller) {
		t.Error("the controller is not enabled")
	}
	if pids, err := (&cgroup{leaf}).procs(); err != nil || !slices.Contains(pids, k.Pid()) {
		t.Errorf("%v, %v: pid %d was not moved", pids, err, k.Pid())
	}
}

// cgroupWithController makes a cgroup that can have a controller, which is "pids" if there is that one. It
// returns nothing where the kernel does not allow that.
func cgroupWithController(t *testing.T) (dir, controller string) {
	t.Helper()
	above := ownCgroup()
	list, _ := os.ReadFile(filepath.Join(above, "cgroup.controllers"))
	controllers := strings.Fields(string(list))
	dir = filepath.Join(above, "test-pids-"+strconv.Itoa(os.Getpid()))
	if len(controllers) == 0 || os.Mkdir(dir, 0o755) != nil {
		return "", ""
	}
	t.Cleanup((&cgroup{dir}).remove)
	controller = controllers[0]
	if slices.Contains(controllers, "pids") {
		controller = "pids"
	}
	if enabled := filepath.Join(above, "cgroup.subtree_control"); !listsController(enabled, controller) {
		if writeCgroupFile(enabled, "+"+controller) != nil {
			return "", ""
		}
		t.Cleanup(func() { _ = writeCgroupFile(enabled, "-"+controller) })
	}
	return dir, controller
}

// The cgroup of a hook in which a supervisor has died is removed by the next one, and that of an app stays.
func TestCgroupsThatAFormerSupervisorHasLeftAreRemoved(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "sleep")
	k.line(t)
	left := newCgroup("shop.1.before_start")
	if left == nil {
		return // none can be made here
	}
	RemoveFormerCgroups()
	if _, err := os.Stat(left.path); err == nil {
		t.Errorf("%s is still there", left.path)
	}
	if _, err := os.Stat(k.Record().Cgroup); err != nil {
		t.Errorf("that of a process is gone: %v", err)
	}
}
