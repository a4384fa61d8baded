package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"tideover/supervisor"
	"tideover/supervisor/admin"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/confine"
	"tideover/supervisor/safepath"
)

// openAdmin binds daemon.admin. After an upgrade its failure is logged only: the apps run.
func (d *daemon) openAdmin(socketPath string) (*admin.Keeper, error) {
	keeper := admin.NewKeeper(admin.Options{
		Logger:      d.logger,
		Confinement: func() (confine.Options, error) { return d.confinement(socketPath) },
		Serve:       func(ctx context.Context, end *os.File) error { return d.control.ServeViewer(ctx, end) },
	})
	change, err := prepareAdmin(keeper, d.Config.Daemon.Admin)
	switch {
	case err == nil:
		change.Commit()
	case d.Handoff != nil:
		d.logger.Error("cannot open admin address", "error", err, "hint", "free the address, then: tideover apply")
	default:
		return nil, &api.Error{Exit: api.ExitError, Message: err.Error(), Hint: "daemon.admin is the address of /metrics, /-/live and /-/ready"}
	}
	return keeper, nil
}

// prepareAdmin binds an address. Root makes no socket on a path that others can change: a symlink on
// it could lead to any directory.
func prepareAdmin(keeper *admin.Keeper, address string) (admin.Change, error) {
	if path, unix := strings.CutPrefix(address, "unix:"); unix && os.Geteuid() == 0 {
		if _, err := (safepath.Opener{}).Access(path); err != nil {
			return admin.Change{}, fmt.Errorf("daemon.admin: %w", err)
		}
	}
	return keeper.Prepare(address)
}

// confinement is how the admin process is confined: in an empty directory beside the control
// socket.
func (d *daemon) confinement(socketPath string) (confine.Options, error) {
	user, err := confine.FindUser(d.Config.Daemon.RelayUser)
	if err != nil {
		return confine.Options{}, err
	}
	dir := strings.TrimSuffix(socketPath, ".sock") + ".empty"
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return confine.Options{}, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return confine.Options{}, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return confine.Options{}, fmt.Errorf("%s is not a directory of this user: remove it", dir)
	}
	return confine.Options{User: user, Root: dir}, nil
}

// reconfigure prepares what a configuration changes outside of the apps.
func (d *daemon) reconfigure(to *config.Daemon) (supervisor.DaemonChange, error) {
	level, err := d.logLevel(to)
	if err != nil {
		return supervisor.DaemonChange{}, err
	}
	if to.Spool > 0 {
		if err := checkOnlyOurs(to.SpoolDir); err != nil {
			return supervisor.DaemonChange{}, err
		}
	}
	change, err := prepareAdmin(d.admin, to.Admin)
	return supervisor.DaemonChange{Commit: func() {
		change.Commit()
		d.setLogLevel(level)
	}, Discard: change.Discard}, err
}
