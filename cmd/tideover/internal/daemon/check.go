package daemon

import (
	"context"

	"tideover/supervisor"
	"tideover/supervisor/config"
)

// CheckGunicorns returns the problems that only gunicorn itself knows of; see
// supervisor.CheckGunicorns.
func CheckGunicorns(ctx context.Context, f *config.File) (problems []config.Problem, asked map[string]*config.App) {
	return supervisor.CheckGunicorns(ctx, f)
}
