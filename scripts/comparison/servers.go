package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/testenv"
)

// startGranian is granian under supervisord. SIGHUP replaces its workers one by one.
func startGranian(c *contestant) error {
	address, err := testenv.Address()
	if err != nil {
		return err
	}
	c.address = address
	host, port, _ := net.SplitHostPort(address)
	return c.supervise([]string{c.env.Venv("servers", "granian"), "--interface", "wsgi", "--host", host, "--port", port,
		"--workers", strconv.Itoa(workers), "--blocking-threads", "1", "--respawn-failed-workers", "--no-ws", "shop:app"})
}

// startPm2 is gunicorn under pm2, which has a reload only for Node clusters: for others it is a restart.
func startPm2(binary string) func(*contestant) error {
	return func(c *contestant) (err error) {
		if c.address, err = testenv.Address(); err != nil {
			return err
		}
		env := []string{"PM2_HOME=" + c.env.Path("pm2"), "PM2_DISCRETE_MODE=true", "TESTENV_APP=" + filepath.Base(c.env.Dir)}
		argv := gunicornAt(c.env, c.address)
		start := append([]string{binary, "start", argv[0], "--name", "shop", "--interpreter", "none", "--cwd", c.app.Dir, "--kill-timeout", "40000", "--"}, argv[1:]...)
		if exit, err := c.command(env, start...)(context.Background()); err != nil || exit != 0 {
			return fmt.Errorf("pm2 start: exit %d, %v", exit, err)
		}
		c.reload = c.command(env, binary, "reload", "shop")
		c.restart = c.command(env, binary, "restart", "shop")
		c.crash = kill(func() (int, error) {
			cmd := exec.Command(binary, "pid", "shop")
			cmd.Env = append(os.Environ(), env...)
			out, err := cmd.Output()
			if err != nil {
				return 0, err
			}
			return strconv.Atoi(strings.TrimSpace(string(out)))
		})
		c.close = func() { c.command(env, binary, "kill")(context.Background()) }
		return nil
	}
}

// kamal is a kamal-proxy, and the gunicorns that its deploys start and stop.
type kamal struct {
	*contestant
	binary string
	serves *testenv.Process // nil: none does
	target string           // its address
}

// startKamal does what Kamal does with containers: each deploy starts a new one, has the proxy change
// to it when it is healthy, and stops the old one. A restart pauses the proxy meanwhile.
func startKamal(binary string) func(*contestant) error {
	return func(c *contestant) (err error) {
		k := &kamal{contestant: c, binary: binary}
		if c.address, err = testenv.Address(); err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(c.address)
		secure, err := testenv.Port()
		if err != nil {
			return err
		}
		if _, err := c.env.Start(testenv.Command{Name: "kamal-proxy", Argv: []string{binary, "run", "--http-port", port, "--https-port", strconv.Itoa(secure)}, Env: k.environ()}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := testenv.Poll(ctx, 50*time.Millisecond, func() error {
			conn, err := net.Dial("tcp", c.address)
			if err == nil {
				conn.Close()
			}
			return err
		}); err != nil {
			return err
		}
		c.reload, c.restart = k.deploy, k.pauseAndStart
		c.crash = k.containerDies
		exit, err := k.deploy(ctx)
		if err == nil && exit != 0 {
			err = errors.New("the first deploy failed")
		}
		return err
	}
}

func (k *kamal) environ() []string {
	return []string{"XDG_RUNTIME_DIR=" + k.env.Dir, "XDG_CONFIG_HOME=" + k.env.Dir}
}

func (k *kamal) start(address string) (*testenv.Process, error) {
	return k.env.Start(testenv.Command{Name: "gunicorn", Argv: gunicornAt(k.env, address), Dir: k.app.Dir, App: true})
}

func (k *kamal) deploy(ctx context.Context) (int, error) {
	address, err := testenv.Address()
	if err != nil {
		return 1, err
	}
	next, err := k.start(address)
	if err != nil {
		return 1, err
	}
	exit, err := k.command(k.environ(), k.binary, "deploy", "shop", "--target", address, "--deploy-timeout", "15s")(ctx)
	if err != nil || exit != 0 {
		return exit, errors.Join(err, next.Stop(syscall.SIGTERM, clientWaits))
	}
	old := k.serves
	k.serves, k.target = next, address
	if old != nil {
		err = old.Stop(syscall.SIGTERM, clientWaits)
	}
	return 0, err
}

// containerDies kills all processes of the app, as those of a container die with its first, and starts
// it again at its address, as the restart policy of Kamal's containers does.
func (k *kamal) containerDies() (err error) {
	if err := syscall.Kill(-k.serves.Pid(), syscall.SIGKILL); err != nil {
		return err
	}
	<-k.serves.Exited()
	k.serves, err = k.start(k.target)
	return err
}

func (k *kamal) pauseAndStart(ctx context.Context) (int, error) {
	call := func(args ...string) error {
		exit, err := k.command(k.environ(), append([]string{k.binary}, args...)...)(ctx)
		if err == nil && exit != 0 {
			err = fmt.Errorf("kamal-proxy %s: exit %d", args[0], exit)
		}
		return err
	}
	if err := errors.Join(call("pause", "shop"), k.serves.Stop(syscall.SIGTERM, clientWaits)); err != nil {
		return 1, err
	}
	next, err := k.start(k.target)
	if err != nil {
		return 1, err
	}
	k.serves = next
	err = testenv.Poll(ctx, 50*time.Millisecond, func() error {
		conn, err := net.Dial("tcp", k.target)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return 0, errors.Join(err, call("resume", "shop"))
}

// command returns a command of an operator, in the folder of the Env.
func (c *contestant) command(env []string, argv ...string) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = c.env.Dir, append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = &out, &out
		return exitOf("", cmd.Run())
	}
}

// killApp kills the processes whose command line has this word and which run in the app's folder.
func (c *contestant) killApp(word string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		pid, fault := strconv.Atoi(filepath.Base(dir))
		if fault == nil && cwd == c.app.Dir && bytes.Contains(line, []byte(word)) {
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	return err
}
