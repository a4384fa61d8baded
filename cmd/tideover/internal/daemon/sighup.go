package daemon

import (
	"context"
	"slices"

	"tideover/supervisor"
	"tideover/supervisor/api"
)

// applyAndReload is what HUP asks for: apply the configuration, then reload
// every app that has not got a new generation by that. An invalid configuration changes nothing.
func (d *daemon) applyAndReload(ctx context.Context, sup *supervisor.Supervisor, via string) {
	by := api.Caller{Via: via}
	noProgress := func(api.Phase) {}
	var done []string
	if d.Load != nil {
		applied := sup.Apply(ctx, api.ApplyRequest{By: by}, noProgress)
		if applied.Exit == api.ExitConfig {
			return
		}
		done = startedBy(applied.Apps)
	}
	for _, app := range sup.Apps() {
		if !slices.Contains(done, app) {
			sup.Do(ctx, api.Request{Verb: api.Reload, App: app, By: by}, noProgress)
		}
	}
}

// startedBy lists the apps for which these changes started a new generation, or
// tried to.
func startedBy(changes []api.AppChange) []string {
	var apps []string
	for _, c := range changes {
		if c.Result != nil && c.Change != api.Removed {
			apps = append(apps, c.App)
		}
	}
	return apps
}
