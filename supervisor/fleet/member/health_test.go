package member

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
)

// A new generation is worse when it crashes, falls silent, or fails more often than the one before.
func TestANewGenerationIsComparedWithTheOneBefore(t *testing.T) {
	yes, no := true, false
	busy := api.AppStatus{State: api.Running, RequestsPerSecond: 100, FailingPerSecond: 20, Answers: &yes}
	idle := api.AppStatus{State: api.Running, Answers: &yes}
	mute := api.AppStatus{State: api.Running, Answers: &no}
	base := api.AppStatus{State: api.Running, Failed: 1000, Counters: api.Counters{Requests: 5000}}
	after := func(failed, requests uint64) api.AppStatus {
		return api.AppStatus{State: api.Running, Failed: 1000 + failed, Counters: api.Counters{Requests: 5000 + requests}}
	}
	crashed := after(0, 10)
	crashed.Restarts, crashed.LastCrash = 1, &api.Crash{Cause: "exit status 3"}
	for name, c := range map[string]struct {
		before, now api.AppStatus
		silent      int
		want        string
	}{
		"all is well":         {idle, after(0, 1000), 0, ""},
		"as many as before":   {busy, after(22, 100), 0, ""},
		"more than before":    {busy, after(30, 100), 0, "30% of its responses"},
		"all, of an idle app": {idle, after(5, 5), 0, "100% of its responses"},
		"few":                 {idle, after(4, 4), 0, ""},
		"crashed":             {idle, crashed, 0, "crashed after it was ready: exit status 3"},
		"one probe":           {idle, after(0, 10), 1, ""},
		"silent":              {idle, after(0, 10), 2, "does not answer"},
		"silent as before":    {mute, after(0, 10), 2, ""},
		"in backoff":          {idle, api.AppStatus{State: api.Backoff, Failed: 1000, Counters: base.Counters}, 0, "backoff"},
	} {
		if got := worse(c.before, base, c.now, c.silent); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
