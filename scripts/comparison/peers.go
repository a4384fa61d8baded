package main

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"strings"

	"tideover/scripts/testenv"
)

// tools are the programs that scripts/setup does not install.
type tools struct{ kamal, pm2 string }

// peer is one way to run the app.
type peer struct {
	name    string
	how     string // it is configured, and whose documentation says so
	without string // why it is not compared, where start is nil
	start   func(*contestant) error
	version func(*contestant) string
}

// gunicornSays is the version of gunicorn, which the app of most peers runs in.
func gunicornSays(c *contestant) string {
	return says(c.env.Venv("gunicorn-latest", "gunicorn"), "--version")
}

func peers(t tools) []peer {
	supervisord := func(c *contestant) string {
		return "supervisord " + says(c.env.Venv("supervisor", "supervisord"), "-v")
	}
	all := []peer{
		{name: "tideover", how: "`tideover run -- gunicorn`; `tideover reload`, `tideover restart`", start: startTideover,
			version: func(c *contestant) string { return says(testenv.Binary(c.env.Root), "version") }},
		{name: "supervisord", how: "gunicorn as a program of supervisord, `autorestart=true`; `supervisorctl restart`, also to deploy: it has no reload",
			start: startSupervisord, version: supervisord},
		{name: "gunicorn HUP", how: "the same; `supervisorctl signal HUP` to deploy", start: startHUP, version: gunicornSays},
		{name: "gunicorn USR2", how: "as its documentation says: USR2, and when the new workers have imported the app WINCH and TERM to the old master. Restart: TERM, and gunicorn again. No supervisor: none can follow the change of masters by itself",
			start: startUSR2, version: gunicornSays},
		{name: "systemd socket", how: "the units of gunicorn's documentation, socket and service: HUP to deploy. A stand-in of 60 lines has the socket where systemd does not run",
			start: startSocketUnit, version: func(c *contestant) string { return "stand-in, " + gunicornSays(c) }},
		{name: "granian", how: "under supervisord, `--respawn-failed-workers`; `supervisorctl signal HUP` to deploy", start: startGranian,
			version: func(c *contestant) string { return says(c.env.Venv("servers", "granian"), "--version") }},
		{name: "nginx", how: "before gunicorn under supervisord, `fail_timeout=0` (gunicorn's documentation); HUP to deploy. The queue is a part of NGINX Plus only", start: behind(nginx),
			version: func(*contestant) string { return says("/usr/sbin/nginx", "-v") }},
		{name: "HAProxy", how: "the same with HAProxy, `retries 30`, `retry-on conn-failure`: one attempt a second", start: behind(haproxy),
			version: func(*contestant) string { return says("/usr/sbin/haproxy", "-v") }},
		{name: "Caddy", how: "the same with Caddy, `lb_try_duration 30s`, `lb_try_interval 250ms`", start: behind(caddy),
			version: func(*contestant) string { return "Caddy " + says("caddy", "version") }},
		{name: "kamal-proxy", how: "a gunicorn for each deploy, `kamal-proxy deploy` changes to it when `/up` answers, the old one then gets TERM. A crash ends all processes of the container, and it is started again. Restart: `pause`, gunicorn again, `resume`",
			version: func(*contestant) string { return "kamal-proxy, " + revisionOf(t.kamal) }, without: "`--kamal BINARY` was not given"},
		{name: "pm2", how: "gunicorn as a process of pm2, `--kill-timeout 40000`; `pm2 reload`, which is a restart for all but Node clusters",
			version: func(c *contestant) string {
				return "pm2 " + says("/usr/bin/env", "PM2_HOME="+c.env.Path("pm2"), t.pm2, "--version")
			}, without: "`--pm2 BINARY` was not given"},
		{name: "Passenger", how: "Apache with mod_passenger, four processes of the app, a queue of 1,000 (its default is 100); `passenger-config restart-app`. Rolling restarts are a part of Passenger Enterprise only",
			version: func(*contestant) string { return says("passenger-config", "--version") }, without: "it is not installed (libapache2-mod-passenger)"},
	}
	for i := range all {
		p := &all[i]
		switch {
		case p.name == "kamal-proxy" && t.kamal != "":
			p.start = startKamal(t.kamal)
		case p.name == "pm2" && t.pm2 != "":
			p.start = startPm2(t.pm2)
		case p.name == "Passenger" && exists(passengerModule):
			p.start = startPassenger
		}
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// revisionOf is the commit that a Go program was built from.
func revisionOf(binary string) string {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err.Error()
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "commit " + s.Value[:7]
		}
	}
	return info.Main.Version
}

// says is the first line that a program prints about its version.
func says(argv ...string) string {
	out, _ := exec.CommandContext(context.Background(), argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	for _, noise := range []string{"nginx version: ", " (version ", "(version "} {
		line = strings.ReplaceAll(line, noise, " ")
	}
	line, _, _ = strings.Cut(line, " - ")
	line, _, _ = strings.Cut(line, " h1:")
	line = strings.Join(strings.Fields(line), " ")
	if !strings.Contains(line, "(") {
		line = strings.TrimSuffix(line, ")")
	}
	return strings.TrimSpace(line)
}
