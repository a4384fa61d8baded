package supervisor

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/awake"
	"tideover/supervisor/process"
)

// orphansTimeout is longer than the processes of a daemon that has died take to end.
const orphansTimeout = 10 * time.Second

// AwaitOrphans waits for the end of the processes of a daemon that has died: they have its sockets
// until then. It reports whether there was one: the address may be free now.
func AwaitOrphans(ctx context.Context, logger hclog.Logger) bool {
	ctx, cancel := awake.WithTimeout(ctx, orphansTimeout)
	defer cancel()
	return process.AwaitOrphans(ctx, func(pids []int) {
		logger.Info("former processes awaited", "pids", pids, "timeout_s", orphansTimeout.Seconds(),
			"hint", "a tideover that has died has left them, and they end by themselves")
	})
}
