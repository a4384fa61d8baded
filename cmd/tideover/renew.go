package main

import (
	"context"
	"slices"

	"tideover/supervisor"
	"tideover/supervisor/api"
)

// renew is what HUP asks for: apply the configuration, then reload every app
// that this has not renewed already. How it ended stands in the log, because a
// signal cannot answer. A faulty configuration changes nothing.
func (d *daemon) renew(ctx context.Context, sup *supervisor.Supervisor) {
	const by = "signal HUP"
	quietly := func(api.Phase) {}
	var renewed []string
	if d.load != nil {
		applied := sup.Apply(ctx, api.ApplyRequest{By: by}, quietly)
		if applied.Exit == api.ExitConfig {
			d.logger.Error("the configuration is not valid; nothing was changed", "error", applied.Error)
			return
		}
		renewed = started(applied.Apps)
	}
	for _, app := range sup.Apps() {
		if !slices.Contains(renewed, app) {
			sup.Do(ctx, api.Request{Verb: api.Reload, App: app, By: by}, quietly)
		}
	}
}

// started are the apps of which applying has started a new generation, or tried
// to.
func started(changes []api.AppChange) []string {
	var apps []string
	for _, c := range changes {
		if c.Result != nil && c.Change != api.Removed {
			apps = append(apps, c.App)
		}
	}
	return apps
}
