package daemon

import (
	"errors"
	"io"
	"strings"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/supervisor"
	"tideover/supervisor/api"
	"tideover/supervisor/confine"
	"tideover/supervisor/handoff"
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

// startRelay starts the process that relays. The directory is that of the private sockets, which is
// all that the process sees of the file system. After an upgrade the apps run, so that the start is
// tried again until it succeeds.
func (d *daemon) startRelay(socketPath string) (*relay.Keeper, *listener.PrivateDir, error) {
	user, err := d.relayUser()
	if err != nil {
		return nil, nil, err
	}
	dir := &listener.PrivateDir{Path: strings.TrimSuffix(socketPath, ".sock") + ".relay"}
	if user != nil {
		dir.Group = user.GID
	}
	confinement := func() (confine.Options, error) {
		return confine.Options{User: user, Root: dir.Path, Sockets: confine.UnixAndTCP}, dir.Prepare()
	}
	settings := supervisor.RelaySettings(d.Config)
	settings.LogLevel = d.logger.GetLevel()
	options := relay.Options{Logger: d.logger, Confinement: confinement, Settings: settings, Retry: d.restores(),
		Store: d.Supervision.store(), Former: d.formerRelays()}
	if j := d.Supervision.record(); j != nil {
		options.Record = func(all []handoff.RelayRecord) error { return errors.Join(j.SetRelays(all), j.Commit()) }
	}
	keeper, err := relay.New(options)
	if err != nil {
		return nil, nil, &api.Error{Exit: api.ExitError, Message: err.Error(), Hint: "tideover relays in a process of its own, and serves nothing without it"}
	}
	return keeper, dir, nil
}

// relayUser returns the user of the relay; nil: the daemon's own. Where the system does not allow
// another one the apps are served all the same.
func (d *daemon) relayUser() (*confine.User, error) {
	if user := d.formerRelayUser(); user != nil {
		return user, nil
	}
	user, err := confine.FindUser(d.Config.Daemon.RelayUser)
	switch {
	case err != nil && (d.Config.Daemon.RelayUser == "" || d.restores()):
		d.logger.Warn("process confined in part", "process", "tideover: relay", "missing", "own user ("+err.Error()+")")
		return nil, nil
	case err != nil:
		return nil, &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "daemon.relay_user is the user of the processes that parse requests"}
	case user != nil && !confine.MayGiveFiles():
		d.logger.Warn("process confined in part", "process", "tideover: relay",
			"missing", "own user (tideover may not give it the private sockets: CAP_CHOWN or CAP_FOWNER is missing)")
		return nil, nil
	}
	return user, nil
}
