package testenv

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Supervisord is a supervisord with one program "shop".
type Supervisord struct {
	*Process
	env    *Env
	config string
}

// Supervisord starts supervisord with argv as its program, in the folder of a.
// more are further lines of the configuration, at first of the program's section.
func (e *Env) Supervisord(a *App, argv []string, more ...string) (*Supervisord, error) {
	config, err := e.Write("supervisord.conf", fmt.Sprintf(`[unix_http_server]
file=%[1]s/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%[1]s/supervisor.sock
[supervisord]
nodaemon=true
logfile=%[1]s/supervisord.log
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
[program:shop]
command=%[2]s
directory=%[3]s
redirect_stderr=true
stdout_logfile=%[1]s/shop.log
%[4]s
`, e.Dir, strings.Join(argv, " "), a.Dir, strings.Join(more, "\n")))
	if err != nil {
		return nil, err
	}
	p, err := e.Start(Command{Name: "supervisord", Argv: []string{e.Venv("supervisor", "supervisord"), "-c", config}, App: true})
	return &Supervisord{Process: p, env: e, config: config}, err
}

// Ctl runs supervisorctl and returns its output.
func (s *Supervisord) Ctl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.env.Venv("supervisor", "supervisorctl"), append([]string{"-c", s.config}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("supervisorctl %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}
