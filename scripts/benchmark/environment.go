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
	"strings"
	"text/template"
	"time"

	"tideover/scripts/testenv"
)

//go:embed conf
var conf embed.FS

// An environment is a folder, an app for the servers that do not start their own, and the servers.
type environment struct {
	*testenv.Env
	self     string // this program
	app      string // the socket of the app
	gunicorn string // address of a gunicorn, for servers that reach apps over TCP only
	kamal    string // the binary of kamal-proxy; empty: there is none
	before   string // the other binary of tideover; empty: there is none
}

// newEnvironment starts the cheapest app on a unix socket.
func (b *bench) newEnvironment() (*environment, error) {
	env, err := testenv.New("bench")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &environment{Env: env, self: self, app: env.Path("app.sock"), kamal: b.kamal, before: b.before}
	if _, err = e.Start(testenv.Command{Name: "app", Argv: []string{self, "-serve", e.app}}); err != nil {
		return nil, err
	}
	return e, eventually(func() error { _, err := os.Stat(e.app); return err })
}

func (e *environment) close() { e.Close(false) }

// eventually tries until there is no error, for 20 s at most.
func eventually(try func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return testenv.Poll(ctx, 5*time.Millisecond, try)
}

// A server is one that is compared, running.
type server struct {
	name     string
	address  string
	process  *testenv.Process
	tideover bool
	control  string // tideover's control socket
}

// pids are the processes that do the work; the app is not among them.
func (s *server) pids() []int {
	exe := ""
	if s.tideover {
		exe, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", s.process.Pid()))
	}
	return descendants(s.process.Pid(), exe)
}

// startServer writes a configuration and starts the server that reads it; argv is the command line,
// given the path of the configuration.
func (e *environment) startServer(name, file string, values map[string]any, argv func(config string) []string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	dir := e.Path(name)
	values["Dir"], values["Address"], values["Port"], values["AsRoot"] = dir, address, port, os.Getuid() == 0
	if values["Socket"] == nil {
		values["Socket"] = e.app
	}
	t, err := template.ParseFS(conf, "conf/"+file)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := t.Execute(&text, values); err != nil {
		return nil, err
	}
	path, err := e.Write(name+"/"+file, text.String())
	if err != nil {
		return nil, err
	}
	p, err := e.Start(testenv.Command{Name: name, Argv: argv(path), Dir: dir, Env: []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir,
		"XDG_RUNTIME_DIR=" + dir, "XDG_STATE_HOME=" + dir, "STAMP=" + dir + "/stamp",
	}})
	if err != nil {
		return nil, err
	}
	s := &server{name: name, address: address, process: p}
	if err := eventually(func() error { return answers(address) }); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, p.Tail(20))
	}
	return s, nil
}

// tideover starts a tideover with an app of its own; an empty command is the cheapest one.
func (e *environment) tideover(name, upstream string, command ...string) (*server, error) {
	if len(command) == 0 {
		command = []string{e.self, "-serve", "-"}
	}
	quoted, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	control := e.Path(name + ".sock")
	values := map[string]any{"App": name, "Command": string(quoted), "Upstream": upstream}
	s, err := e.startServer(name, "tideover.toml", values, func(config string) []string {
		return []string{e.binary(name), "-S", control, "run", "-c", config}
	})
	if err == nil {
		s.tideover, s.control = true, control
	}
	return s, err
}

// binary is the tideover that the server of this name runs.
func (e *environment) binary(name string) string {
	if strings.HasPrefix(name, "before") {
		return e.before
	}
	return testenv.Binary(e.Root)
}

// call runs a verb of a tideover's command line.
func (e *environment) call(s *server, args ...string) ([]byte, error) {
	out, err := exec.Command(e.binary(s.name), append([]string{"-S", s.control}, args...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%v: %w\n%s%s", args, err, out, exit.Stderr)
	}
	return out, err
}
