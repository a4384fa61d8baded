package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tideover/listener"
	"tideover/supervisor"
	"tideover/supervisor/admin"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
	"tideover/supervisor/fleet"
	"tideover/supervisor/safepath"
)

// formerAdminTimeout bounds the wait for addresses that the former supervisor's admin process has.
const formerAdminTimeout = 3 * time.Second

// openAdmin binds daemon.admin and the addresses for clients of supervisord. After an upgrade a
// failure is logged only: the apps run.
func (d *daemon) openAdmin(socketPath string) (*admin.Keeper, error) {
	keeper := admin.NewKeeper(admin.Options{
		Logger:      d.logger,
		Run:         func() string { return d.supervisor.Load().Identity() },
		Confinement: func() (confine.Options, error) { return d.confinement(socketPath) },
		Serve: func(ctx context.Context, end *os.File, rights control.Rights) error {
			return d.control.ServeViewer(ctx, end, rights)
		},
	})
	file := *d.Config
	cfg := &file.Daemon
	if _, err := supervisorPassword(cfg.Supervisor); err != nil { // without the password nothing that asks for it is opened
		d.logger.Warn("cannot open address for supervisorctl", "address", cfg.Supervisor.HTTP, "error", err, "hint", "write the password into supervisor_password_file, then: tideover apply")
		if cfg.Supervisor.SocketAuth {
			cfg.Supervisor.Socket = ""
		}
		cfg.Supervisor.HTTP, cfg.Supervisor.User, cfg.Supervisor.SocketAuth = "", "", false
	}
	if _, err := pageToken(cfg.AdminAuth.TokenFile); err != nil {
		d.logger.Warn("page only looks", "error", err, "hint", "mend the file, then: tideover apply")
		cfg.AdminAuth.TokenFile = ""
	}
	if _, err := ReadFleet(&file.Fleet); err != nil {
		d.logger.Warn("fleet not joined", "error", err, "hint", "correct it, then: tideover apply")
		file.Fleet = config.Fleet{}
	}
	change, err := prepareAdmin(keeper, &file, true)
	if listener.IsInUse(err) && supervisor.AwaitOrphans(context.Background(), d.logger) {
		change, err = prepareAdmin(keeper, &file, true)
	}
	for until := time.Now().Add(formerAdminTimeout); err != nil && d.restores() && time.Now().Before(until); {
		<-time.After(pollInterval) // the process of the former supervisor ends with it
		change, err = prepareAdmin(keeper, &file, true)
	}
	switch {
	case err == nil:
		change.Commit()
	case d.restores():
		d.logger.Error("cannot open admin address", "error", err, "hint", "free the address, then: tideover apply")
	default:
		return nil, &api.Error{Exit: api.ExitError, Message: err.Error(), Hint: "daemon.admin is the address of /metrics, /-/live and /-/ready, daemon.supervisor_* are for supervisorctl, agent.listen is for HAProxy"}
	}
	return keeper, nil
}

// prepareAdmin binds the addresses. Root makes no socket on a path that others can change: a symlink
// on it could lead to any directory. later is that of Keeper.Prepare.
func prepareAdmin(keeper *admin.Keeper, file *config.File, later bool) (admin.Change, error) {
	cfg := &file.Daemon
	adminPath, _ := strings.CutPrefix(cfg.Admin, "unix:")
	if adminPath == cfg.Admin {
		adminPath = "" // TCP
	}
	for key, path := range map[string]string{"admin": adminPath, "supervisor_socket": cfg.Supervisor.Socket} {
		if path == "" || os.Geteuid() != 0 {
			continue
		}
		if _, err := (safepath.Opener{}).Access(path); err != nil {
			return admin.Change{}, fmt.Errorf("daemon.%s: %w", key, err)
		}
	}
	to, err := adminAddresses(file)
	if err != nil {
		return admin.Change{}, err
	}
	return keeper.Prepare(to, later)
}

// adminAddresses are the addresses of the admin process, with the password.
func adminAddresses(file *config.File) (admin.Addresses, error) {
	cfg := &file.Daemon
	s := cfg.Supervisor
	to := admin.Addresses{Admin: cfg.Admin, Socket: s.Socket, HTTP: s.HTTP, SocketMode: s.SocketMode, SocketUID: -1, SocketGID: -1, Agents: map[string]string{},
		Supervisor: admin.Supervisor{Identifier: s.Identifier, User: s.User, SocketAuth: s.SocketAuth}}
	for _, app := range file.Apps {
		if app.Agent.Listen != "" {
			to.Agents[app.Name] = app.Agent.Listen
		}
	}
	var err error
	if to.Fleet, err = ReadFleet(&file.Fleet); err != nil {
		return to, err
	}
	if to.SocketUID, to.SocketGID, err = lookUpOwner(s.SocketOwner); err != nil {
		return to, fmt.Errorf("daemon.supervisor_socket_owner: %w", err)
	}
	if to.PageToken, err = pageToken(cfg.AdminAuth.TokenFile); err != nil {
		return to, err
	}
	to.Page = admin.Page{Acts: to.PageToken != "", Hosts: cfg.AdminAuth.Hosts}
	to.Supervisor.Password, err = supervisorPassword(s)
	return to, err
}

// supervisorPassword is the password that clients of supervisord are asked for; empty: none.
func supervisorPassword(s config.SupervisorAPI) (string, error) {
	if s.User == "" {
		return "", nil
	}
	text, err := (safepath.Opener{}).ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("daemon.supervisor_password_file: %w", err)
	}
	password := firstLine(text.Text)
	if password == "" {
		return "", fmt.Errorf("daemon.supervisor_password_file: %s is empty", s.PasswordFile)
	}
	return password, nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r")
}

// Bounds of the token of the page, in characters.
const minToken, maxToken = 16, 1000

// pageToken reads the token of the page; empty: there is no file for it.
func pageToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := (safepath.Opener{}).ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("daemon.admin_auth.token_file: %w", err)
	}
	token := strings.TrimSpace(firstLine(file.Text))
	switch {
	case file.Mode&0o027 != 0:
		err = fmt.Errorf("%s has mode %04o, so other users can read or change it: chmod 600 %[1]s", path, file.Mode)
	case len(token) < minToken || len(token) > maxToken:
		err = fmt.Errorf("the first line of %s has %d characters, and a token has from %d to %d: openssl rand -hex 32 >%[1]s", path, len(token), minToken, maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		err = fmt.Errorf("the token in %s has other characters than letters, digits and signs of ASCII: openssl rand -hex 32 >%[1]s", path)
	}
	if err != nil {
		return "", fmt.Errorf("daemon.admin_auth.token_file: %w", err)
	}
	return token, nil
}

// ReadFleet returns the settings of a fleet, with the files that they name.
func ReadFleet(cfg *config.Fleet) (admin.Fleet, error) {
	if !cfg.On() {
		return admin.Fleet{}, nil
	}
	f := admin.Fleet{Etcd: cfg.Etcd, Group: cfg.Group, Host: cfg.Host, User: cfg.User, Wait: cfg.Wait, Commands: cfg.AllowCommand}
	if f.Host == "" {
		name, err := os.Hostname()
		if err != nil || !fleet.ValidName(name) {
			return f, fmt.Errorf("the host name %q cannot be that of a member of the fleet: set fleet.host", name)
		}
		f.Host = name
	}
	var password []byte
	for _, file := range []struct {
		key, path string
		into      *[]byte
	}{{"ca", cfg.CA, &f.CA}, {"cert", cfg.Cert, &f.Cert}, {"key", cfg.Key, &f.Key}, {"password_file", cfg.PasswordFile, &password}} {
		if file.path == "" {
			continue
		}
		read, err := (safepath.Opener{}).ReadFile(file.path)
		if err != nil {
			return f, fmt.Errorf("fleet.%s: %w", file.key, err)
		}
		*file.into = read.Text
	}
	f.Password = strings.TrimRight(string(password), "\r\n")
	if _, err := f.TLS(); err != nil {
		return f, err
	}
	return f, nil
}

// lookUpOwner finds USER, USER:GROUP or :GROUP; -1 is for one that is left out. As with supervisord,
// the group of USER alone is that of the account.
func lookUpOwner(text string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, both := strings.Cut(text, ":")
	if name != "" {
		account, err := user.Lookup(name)
		if err != nil {
			if account, err = user.LookupId(name); err != nil {
				return -1, -1, fmt.Errorf("there is no user %q", name)
			}
		}
		if uid, err = strconv.Atoi(account.Uid); err != nil {
			return -1, -1, err
		}
		if !both {
			gid, err = strconv.Atoi(account.Gid)
			return uid, gid, err
		}
	}
	if group != "" {
		found, err := user.LookupGroup(group)
		if err != nil {
			if found, err = user.LookupGroupId(group); err != nil {
				return -1, -1, fmt.Errorf("there is no group %q", group)
			}
		}
		gid, err = strconv.Atoi(found.Gid)
		return uid, gid, err
	}
	return uid, gid, nil
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
func (d *daemon) reconfigure(file *config.File) (supervisor.DaemonChange, error) {
	to := &file.Daemon
	level, err := d.logLevel(to)
	if err != nil {
		return supervisor.DaemonChange{}, err
	}
	if to.Spool > 0 {
		if err := checkOnlyOurs(to.SpoolDir); err != nil {
			return supervisor.DaemonChange{}, err
		}
	}
	change, err := prepareAdmin(d.admin, file, false)
	return supervisor.DaemonChange{Commit: func() {
		change.Commit()
		d.setLogLevel(level)
	}, Discard: change.Discard}, err
}
