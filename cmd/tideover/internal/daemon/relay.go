package daemon

import (
	"io"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/relay"
)

// RelayRole must be called early in main. It returns at once unless this process is a relay.
func RelayRole() {
	relay.Role(func(level hclog.Level, to hclog.SinkAdapter) hclog.Logger {
		logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
		logger.RegisterSink(to)
		return logger
	})
}

// startRelay starts the process that relays. It is nil where the daemon itself relays.
func (d *daemon) startRelay() (*relay.Keeper, error) {
	if !relayIsProcess {
		return nil, nil
	}
	f := d.Config.Daemon
	return relay.New(relay.Options{Logger: d.logger, Settings: relay.Settings{
		LogLevel: d.logger.GetLevel(), SpoolDir: f.SpoolDir, SpoolLimit: f.Spool, MaxConnections: f.MaxConns, Apps: max(1, len(d.Config.Apps)),
	}})
}
