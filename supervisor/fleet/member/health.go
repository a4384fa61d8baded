package member

import (
	"fmt"

	"tideover/supervisor/api"
)

const (
	// minFailed is how many responses with a status of 500 or above count at least.
	minFailed = 5
	// tolerated is by how much their share may be above that of the generation before.
	tolerated = 0.05
	// maxSilent is how many probes in a row may fail.
	maxSilent = 1
)

// answers reports whether the app has answered the probe of a check, or has none.
func answers(a api.AppStatus) bool { return a.Answers == nil || *a.Answers }

// worse says why the new generation is worse than the one before; empty: it is not. before is the app
// before the turn, base when the new generation had begun to serve. silent counts the probes that
// have failed in a row.
func worse(before, base, now api.AppStatus, silent int) string {
	switch {
	case now.Restarts > base.Restarts:
		reason := "it has crashed after it was ready"
		if now.LastCrash != nil {
			reason += ": " + now.LastCrash.Cause
		}
		return reason
	case now.State == api.Failed || now.State == api.Backoff || now.State == api.Stopped:
		return fmt.Sprintf("it is %s after it was ready", now.State)
	case silent > maxSilent && answers(before):
		return "it does not answer its readiness probe any more: " + now.Answer
	}
	failed, ended := now.Failed-base.Failed, now.Counters.Requests-base.Counters.Requests
	if failed < minFailed || ended == 0 {
		return ""
	}
	share, former := float64(failed)/float64(max(ended, failed)), 0.0
	if before.RequestsPerSecond > 0 {
		former = before.FailingPerSecond / before.RequestsPerSecond
	}
	if share > former+tolerated {
		return fmt.Sprintf("%.0f%% of its responses have a status of 500 or above, and %.0f%% before", 100*share, 100*former)
	}
	return ""
}
