package config

import (
	"os"
	"sync"
	"time"
)

// daemonKeys are the keys of [daemon].
var daemonKeys = sync.OnceValue(func() []Key {
	return []Key{
		daemon("socket", filePath, "", func(d *Daemon) *string { return &d.Socket },
			"path of the control socket; left out: control.sock in the runtime directory"),
		daemon("socket_group", text, "", func(d *Daemon) *string { return &d.SocketGroup },
			"group whose members may reload, hold and see the status"),
		daemon("socket_mode", mode, "", func(d *Daemon) *os.FileMode { return &d.SocketMode },
			"mode of the control socket; left out: 0600, or 0660 with socket_group"),
		key("log_level", oneOf("trace", "debug", "info", "warn", "error"), `"info"`, Live, func(d *Daemon) *string { return &d.LogLevel },
			"lowest level that tideover logs").values(
			"every step, for its developers", "also requests of commands and ended processes", "what happens", "what may need attention", "what has failed"),
		daemon("log_format", oneOf("auto", "text", "json"), `"auto"`, func(d *Daemon) *string { return &d.LogFormat },
			"format of tideover's own log").values(
			"text on a terminal, in the journal, with run -- COMMAND and under supervisord, else JSON", "lines for people", "a JSON object a line; lines of the apps, too, with app and generation"),
		daemon("state_dir", filePath, "", func(d *Daemon) *string { return &d.StateDir },
			"directory for the state that outlives the daemon"),
		daemon("runtime_dir", filePath, "", func(d *Daemon) *string { return &d.RuntimeDir },
			"directory for private sockets and the control socket"),
		daemon("pidfile", filePath, "", func(d *Daemon) *string { return &d.Pidfile },
			"file for the daemon's pid"),
		key("spool", size, `"1GiB"`, Live, func(d *Daemon) *int64 { return &d.Spool },
			"bytes of bodies and responses that are kept on disk for slow clients, of all apps together; 0B: none"),
		key("spool_dir", filePath, `"/var/tmp"`, Live, func(d *Daemon) *string { return &d.SpoolDir },
			"directory on whose disk they are kept, in a file without a name"),
		key("max_connections", integer(1, 1<<30), "", Live, func(d *Daemon) *int { return &d.MaxConns },
			"client connections of all apps together; beyond, idle ones are closed, the longest idle one first, and without one new ones wait in the backlog; left out: as many as "+
				"RLIMIT_NOFILE allows, less a reserve for connections to the apps, starts and the control socket"),
		key("admin", checked("address", checkAdmin), "", Live, func(d *Daemon) *string { return &d.Admin },
			`address of the page (/), /metrics (for Prometheus), /-/live (200 while the supervisor answers), /-/ready and /-/ready/APP (200 while requests are passed to every app, or to APP; else 503), HOST:PORT or unix:PATH, such as "127.0.0.1:9464"; a process of its own answers there, without privileges; left out: none`),
		key("admin_auth.token_file", filePath, "", Live, func(d *Daemon) *string { return &d.AdminAuth.TokenFile },
			"file, relative to the configuration file, with the token that the page asks for before it reloads, restarts, holds, drains, stops or starts an app or shows its output, of at least 16 characters (openssl rand -hex 32), not for other users to read; left out: the page only looks"),
		key("admin_auth.hosts", list(checked("name of a host", checkPageHost).where(schema{"pattern": `^[A-Za-z0-9._-]+$`})), "", Live, func(d *Daemon) *[]string { return &d.AdminAuth.Hosts },
			"names by which a browser may ask for the page, beside addresses and localhost, such as that of a web server in front of it: any other name may be one that another site lets lead here"),
		daemon("relay_user", text, "", func(d *Daemon) *string { return &d.RelayUser },
			"user of the processes of tideover that parse requests, where tideover is root; left out: the user tideover if there is one, else an id that no account and no process has"),
		key("supervisor_socket", filePath, "", Live, func(d *Daemon) *string { return &d.Supervisor.Socket },
			"path of a unix socket on which supervisorctl and other clients of supervisord are answered, such as /var/run/supervisor.sock; left out: none"),
		key("supervisor_socket_mode", mode, `"0700"`, Live, func(d *Daemon) *os.FileMode { return &d.Supervisor.SocketMode },
			"mode of that socket: who may connect may start and stop every app"),
		key("supervisor_socket_owner", text, "", Live, func(d *Daemon) *string { return &d.Supervisor.SocketOwner },
			"owner of that socket: USER, USER:GROUP or :GROUP; left out: tideover's own user"),
		key("supervisor_socket_auth", boolean, `false`, Live, func(d *Daemon) *bool { return &d.Supervisor.SocketAuth },
			"the password is asked for on that socket, too"),
		key("supervisor_http", checked("address", checkSupervisorHTTP), "", Live, func(d *Daemon) *string { return &d.Supervisor.HTTP },
			`HOST:PORT on which clients of supervisord are answered by HTTP, such as "127.0.0.1:9001"; without supervisor_user they can only look; left out: none`),
		key("supervisor_user", text, "", Live, func(d *Daemon) *string { return &d.Supervisor.User },
			"user name that these clients send with the password"),
		key("supervisor_password_file", filePath, "", Live, func(d *Daemon) *string { return &d.Supervisor.PasswordFile },
			"file with that password, relative to the configuration file, or with {SHA} and its SHA-1 in hexadecimal digits"),
		key("supervisor_identifier", text, `"supervisor"`, Live, func(d *Daemon) *string { return &d.Supervisor.Identifier },
			"what supervisor.getIdentification answers"),
		daemon("exit_when", oneOf("never", "failed", "done"), `"never"`, func(d *Daemon) *string { return &d.ExitWhen },
			"when the daemon ends by itself, for containers").values(
			"never", "when an app has failed (failed_after): exit code 1", "when every app is done or has failed"),
		daemon("failed_after", integer(1, 1000), `5`, func(d *Daemon) *int { return &d.FailedAfter },
			"failed starts in a row after which an app has failed: requests get 503, and a start is tried once a minute"),
		daemon("stop_timeout", optional(duration), "", func(d *Daemon) **time.Duration { return &d.StopTimeout },
			"time limit from TERM to the end of tideover, linger included; drains and stops are shortened to fit; 0s: none; left out: 25s as process 1 of a container, else none"),
		daemon("linger", duration, `"0s"`, func(d *Daemon) *time.Duration { return &d.Linger },
			"how long requests are served as before after TERM, while hold.alive answers 503 and status --check exits 3, until no front-end sends new ones; a second TERM ends it; 5s for Kubernetes"),
	}
})

// daemon returns the key of a field of Daemon.
func daemon[T any](path string, k valueType[T], def string, at func(*Daemon) *T, meaning string) Key {
	return key(path, k, def, Boot, at, meaning)
}
