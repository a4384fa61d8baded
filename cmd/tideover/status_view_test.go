package main

import (
	"testing"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

func TestNarrowTable(t *testing.T) {
	t.Parallel()
	last := okResult()
	apps := []api.AppStatus{serving("shop"), serving("a-name-of-thirty-two-characters-")}
	apps[0].LastReload = &last
	apps[0].Memory, apps[1].Memory = 0, 0 // fewer columns
	for width, want := range map[int]string{
		120: "APP                               STATE    GEN    PID      UPTIME  IN-FLIGHT  HELD  LAST RELOAD\n" +
			"shop                              running    8  48213  4 min 12 s          9     0  ok in 7.8 s\n" +
			"a-name-of-thirty-two-characters-  running    8  48213  4 min 12 s          9     0  -\n",
		80: "APP                               STATE    GEN      UPTIME  IN-FLIGHT  HELD\n" +
			"shop                              running    8  4 min 12 s          9     0\n" +
			"a-name-of-thirty-two-characters-  running    8  4 min 12 s          9     0\n",
		60: "APP                    STATE        UPTIME  IN-FLIGHT  HELD\n" +
			"shop                   running  4 min 12 s          9     0\n" +
			"a-name-of-thirty-two…  running  4 min 12 s          9     0\n",
		30: "APP             STATE    HELD\n" +
			"shop            running     0\n" +
			"a-name-of-thi…  running     0\n",
	} {
		if got := statusTable(term.Screen{Terminal: true, Width: width}, apps); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
	}
}
