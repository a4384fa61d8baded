package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/template"
	"time"

	"tideover/scripts/testenv"
)

//go:embed conf
var conf embed.FS

// A server is one of those that are compared, running.
type server struct {
	name    string
	address string
	process *testenv.Process
	ours    bool
	socket  string // of tideover's control
}

// pids are the processes that do the work; the app is not among them.
func (s *server) pids() []int {
	if s.ours {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.process.Pid()))
		return tree(s.process.Pid(), exe)
	}
	return tree(s.process.Pid(), "")
}

// A stage is where they stand: one app for those that do not start their own, and the servers.
type stage struct {
	room *testenv.Env
	self string // this program
	back string // the app's socket

	kamal  string // the binary, where there is one
	before string // the other binary of tideover, where there is one
	alone  string // address of a gunicorn, for those that reach apps over TCP only
}

// newStage starts the cheapest app on a unix socket.
func (b *bench) newStage() (*stage, error) {
	room, err := testenv.New("bench")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &stage{room: room, self: self, back: room.Path("app.sock"), kamal: b.kamal, before: b.before}
	if _, err = room.Start(testenv.Command{Name: "app", Argv: []string{self, "-serve", s.back}}); err != nil {
		return nil, err
	}
	return s, eventually(func() error { _, err := os.Stat(s.back); return err })
}

// eventually asks until the answer is nil, for 20 s at most.
func eventually(is func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return testenv.Poll(ctx, 5*time.Millisecond, is)
}

// start writes a configuration and starts the server that reads it; argv says how, given the path of the configuration.
func (s *stage) start(name, file string, values map[string]any, argv func(config string) []string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	dir := s.room.Path(name)
	values["Dir"], values["Address"], values["Port"], values["AsRoot"] = dir, address, port, os.Getuid() == 0
	if values["Back"] == nil {
		values["Back"] = s.back
	}
	t, err := template.ParseFS(conf, "conf/"+file)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := t.Execute(&text, values); err != nil {
		return nil, err
	}
	path, err := s.room.Write(name+"/"+file, text.String())
	if err != nil {
		return nil, err
	}
	p, err := s.room.Start(testenv.Command{Name: name, Argv: argv(path), Dir: dir, Env: []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir,
		"XDG_RUNTIME_DIR=" + dir, "XDG_STATE_HOME=" + dir, "STAMP=" + dir + "/stamp",
	}})
	if err != nil {
		return nil, err
	}
	one := &server{name: name, address: address, process: p}
	if err := eventually(func() error { return answers(address) }); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, p.Tail(20))
	}
	return one, nil
}

// answers asks once.
func answers(address string) error {
	_, err := load{connections: 1, reconnect: true, time: time.Millisecond}.run(address)
	return err
}

func (s *stage) nginx(threads int) (*server, error) {
	return s.start(fmt.Sprintf("nginx-%d", threads), "nginx.conf", map[string]any{"Threads": threads}, func(config string) []string {
		dir := strings.TrimSuffix(config, "/nginx.conf")
		return []string{"/usr/sbin/nginx", "-p", dir, "-e", dir + "/error.log", "-c", config}
	})
}

// haproxy starts one that has most requests at the app at once and keeps the others in its queue; 0: it does not count.
func (s *stage) haproxy(name string, threads, most int, back string) (*server, error) {
	return s.start(name, "haproxy.cfg", map[string]any{"Threads": threads, "Most": most, "Back": back}, func(config string) []string {
		return []string{"/usr/sbin/haproxy", "-db", "-f", config}
	})
}

func (s *stage) caddy() (*server, error) {
	return s.start("caddy", "Caddyfile", map[string]any{}, func(config string) []string {
		return []string{"caddy", "run", "--adapter", "caddyfile", "--config", config}
	})
}

func (s *stage) apache() (*server, error) {
	return s.start("apache", "apache.conf", map[string]any{}, func(config string) []string {
		return []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config}
	})
}

// kamalProxy starts one for the app at an address.
func (s *stage) kamalProxy(app string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	secure, err := testenv.Port()
	if err != nil {
		return nil, err
	}
	p, err := s.room.Start(testenv.Command{Name: "kamal-proxy", Argv: []string{s.kamal, "run", "--http-port", port, "--https-port", strconv.Itoa(secure)}, Env: s.kamalEnv()})
	if err != nil {
		return nil, err
	}
	one := &server{name: "kamal-proxy", address: address, process: p}
	return one, eventually(func() error {
		return errors.Join(s.kamalCall("deploy", "app", "--target", app, "--health-check-path", "/"), answers(address))
	})
}

func (s *stage) kamalEnv() []string {
	return append(os.Environ(), "XDG_RUNTIME_DIR="+s.room.Dir, "XDG_CONFIG_HOME="+s.room.Dir)
}

// kamalCall runs a verb of kamal-proxy's.
func (s *stage) kamalCall(args ...string) error {
	cmd := exec.Command(s.kamal, args...)
	cmd.Env = s.kamalEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kamal-proxy %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// binary is the tideover that the server of this name runs.
func (s *stage) binary(name string) string {
	if strings.HasPrefix(name, "before") {
		return s.before
	}
	return testenv.Binary(s.room.Root)
}

// tideover starts ours with an app of its own; an empty command is the cheapest one.
func (s *stage) tideover(name, upstream string, command ...string) (*server, error) {
	if len(command) == 0 {
		command = []string{s.self, "-serve", "-"}
	}
	quoted, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	socket := s.room.Path(name + ".sock")
	one, err := s.start(name, "tideover.toml", map[string]any{"App": name, "Command": string(quoted), "Upstream": upstream}, func(config string) []string {
		return []string{s.binary(name), "-S", socket, "run", "-c", config}
	})
	if err == nil {
		one.ours, one.socket = true, socket
	}
	return one, err
}

// contestants starts those named, all side by side; tideover with an app of its own, whose command
// may be left out.
func (s *stage) contestants(names []string, command ...string) (all map[string]*server, err error) {
	all = map[string]*server{}
	for _, name := range names {
		var one *server
		switch name {
		case "tideover", "before":
			one, err = s.tideover(name, "unix", command...)
		case "tideover-tcp", "before-tcp":
			one, err = s.tideover(name, "tcp", command...)
		case "nginx-1":
			one, err = s.nginx(1)
		case "nginx-2":
			one, err = s.nginx(2)
		case "haproxy-1":
			one, err = s.haproxy(name, 1, 0, s.back)
		case "haproxy-2":
			one, err = s.haproxy(name, 2, 0, s.back)
		case "caddy":
			one, err = s.caddy()
		case "apache":
			one, err = s.apache()
		case "kamal-proxy":
			var app string
			if app, err = testenv.Address(); err == nil {
				_, err = s.room.Start(testenv.Command{Name: "app-tcp", Argv: []string{s.self, "-serve", app}})
			}
			if err == nil {
				one, err = s.kamalProxy(app)
			}
		}
		if err != nil {
			return nil, err
		}
		all[name] = one
	}
	return all, nil
}
