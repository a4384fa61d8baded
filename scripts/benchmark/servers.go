package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"tideover/scripts/testenv"
)

// startAll starts the servers of these names, all side by side; tideover with an app of its own.
// The app's command may be left out.
func (e *environment) startAll(names []string, command ...string) (map[string]*server, error) {
	all := map[string]*server{}
	for _, name := range names {
		s, err := e.startNamed(name, command...)
		if err != nil {
			return nil, err
		}
		all[name] = s
	}
	return all, nil
}

func (e *environment) startNamed(name string, command ...string) (*server, error) {
	switch name {
	case "tideover", "before":
		return e.tideover(name, "unix", command...)
	case "tideover-tcp", "before-tcp":
		return e.tideover(name, "tcp", command...)
	case "nginx-1":
		return e.nginx(name, 1)
	case "nginx-2":
		return e.nginx(name, 2)
	case "haproxy-1":
		return e.haproxy(name, 1, 0, e.app)
	case "haproxy-2":
		return e.haproxy(name, 2, 0, e.app)
	case "caddy":
		return e.caddy()
	case "apache":
		return e.apache()
	case "kamal-proxy":
		app, err := testenv.Address()
		if err != nil {
			return nil, err
		}
		if _, err := e.Start(testenv.Command{Name: "app-tcp", Argv: []string{e.self, "-serve", app}}); err != nil {
			return nil, err
		}
		return e.kamalProxy(app)
	}
	return nil, fmt.Errorf("no server %q", name)
}

func (e *environment) nginx(name string, threads int) (*server, error) {
	return e.startServer(name, "nginx.conf", map[string]any{"Threads": threads}, func(config string) []string {
		dir := strings.TrimSuffix(config, "/nginx.conf")
		return []string{"/usr/sbin/nginx", "-p", dir, "-e", dir + "/error.log", "-c", config}
	})
}

// haproxy starts a HAProxy that has maxConnections requests at the app at once and keeps the others
// in its queue; 0: without a limit.
func (e *environment) haproxy(name string, threads, maxConnections int, app string) (*server, error) {
	values := map[string]any{"Threads": threads, "MaxConn": maxConnections, "Socket": app}
	return e.startServer(name, "haproxy.cfg", values, func(config string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", config}
	})
}

func (e *environment) caddy() (*server, error) {
	return e.startServer("caddy", "Caddyfile", map[string]any{}, func(config string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", config}
	})
}

func (e *environment) apache() (*server, error) {
	return e.startServer("apache", "apache.conf", map[string]any{}, func(config string) []string {
		return []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config}
	})
}

// kamalProxy starts a kamal-proxy for the app at an address.
func (e *environment) kamalProxy(app string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	secure, err := testenv.Port()
	if err != nil {
		return nil, err
	}
	argv := []string{e.kamal, "run", "--http-port", port, "--https-port", strconv.Itoa(secure)}
	p, err := e.Start(testenv.Command{Name: "kamal-proxy", Argv: argv, Env: e.kamalEnv()})
	if err != nil {
		return nil, err
	}
	return &server{name: "kamal-proxy", address: address, process: p}, eventually(func() error {
		return errors.Join(e.kamalCall("deploy", "app", "--target", app, "--health-check-path", "/"), answers(address))
	})
}

func (e *environment) kamalEnv() []string {
	return append(os.Environ(), "XDG_RUNTIME_DIR="+e.Dir, "XDG_CONFIG_HOME="+e.Dir)
}

// kamalCall runs a verb of kamal-proxy's command line.
func (e *environment) kamalCall(args ...string) error {
	cmd := exec.Command(e.kamal, args...)
	cmd.Env = e.kamalEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kamal-proxy %s: %w\n%s", args[0], err, out)
	}
	return nil
}
