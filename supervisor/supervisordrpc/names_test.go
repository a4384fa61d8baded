package supervisordrpc

import "testing"

func TestNamesAreJoinedAsTheyWereSplit(t *testing.T) {
	for name, want := range map[string][3]string{
		"shop":             {"shop", "shop", "shop"},
		"worker:worker_00": {"worker", "worker_00", "worker:worker_00"},
		"shop:shop":        {"shop", "shop", "shop"},
		"mail:*":           {"mail", "", "mail:*"},
		"mail:":            {"mail", "", "mail:*"},
		"mail:a:b":         {"mail", "a:b", "mail:a:b"},
	} {
		group, process := SplitName(name)
		if got := [3]string{group, process, JoinName(group, process)}; got != want {
			t.Errorf("%q is %q, not %q", name, got, want)
		}
	}
}
