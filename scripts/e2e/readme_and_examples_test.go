//go:build e2e

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The front-end configurations that are published with tideover are run as they
// are, but for addresses: through a hold, with everything that passes it, then a reload, a restart, a
// crash and a broken deploy. Apache has clients that keep their connections, and its own numbers.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"apache": "apache/shop.conf", "nginx": "nginx/shop.conf", "haproxy": "haproxy/haproxy.cfg", "caddy": "caddy/Caddyfile",
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{gunicorn: testenv.UvicornWorker(""), release: testenv.Release{Number: 1, Import: 1}})
			read := func(file string) string {
				text, err := os.ReadFile(filepath.Join(r.env.Root, "examples", file))
				r.must(err)
				return string(text)
			}
			start := published(name, read(file))
			rate := 20
			if name == "apache" {
				start, rate = apache(testenv.Apache{Site: read(file), Event: read("apache/mpm_event.conf")}), 60
			}
			clients := s.startFronts(map[string]frontStarter{name: start})
			s.client = clients[name]
			// HAProxy serves no files.
			if a := s.client.Do(t.Context(), loadgen.Kind{Path: "/media/file.txt", Plain: true}); string(a.Body) != "a static file\n" && name != "haproxy" {
				s.Errorf("/media/: %d %s %s %q", a.Status, a.Loss, a.Cause, a.Body)
			}
			s.startLoad(rate)
			s.hold(4 * time.Second)
			ws, err := s.client.WebSocket(s.timeout(20*time.Second), "/ws")
			s.must(err)
			s.echoes(ws, "release=1 ")
			ws.Close()
			for _, a := range sendAll(clients, uploads())[name] {
				if a.Loss != "" {
					s.Errorf("%s: %s %s", a.Kind.Name, a.Loss, a.Cause)
				}
			}
			s.reload()
			s.restart()
			s.killMaster()
			s.failedReload("raise")
			s.finish()
		})
	}
}

func published(name, site string) frontStarter {
	switch name {
	case "nginx":
		return func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{Site: site})
		}
	case "haproxy":
		return func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Site: site})
		}
	}
	return func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
		return r.Caddy(b, testenv.ProxyConfig{Site: site})
	}
}

// The two commands at the top of the README work in a fresh clone. The second
// one with a single row: all of them are what runs here, and would clone again.
func TestFreshClone(t *testing.T) {
	r := begin(t)
	clone := r.env.Path("tideover")
	if out, err := exec.Command("git", "clone", "-q", r.env.Root, clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(clone, "README.md"))
	r.must(err)
	commands := regexp.MustCompile(`(?m)^(?:\$ )?(scripts/\S+.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(commands) == 0 {
		t.Fatal("the README begins with no command of scripts/")
	}
	begun := time.Now()
	for _, command := range commands[:min(2, len(commands))] {
		line, _, _ := strings.Cut(command[1], "#")
		if line = strings.TrimSpace(line); line == "scripts/test" {
			line += " --rows TestRefused"
			r.must(linkEnvironments(r.env.Root, clone))
		}
		p, err := r.env.Start(testenv.Command{Name: "readme", Argv: []string{"sh", "-c", line}, Dir: clone})
		r.must(err)
		select {
		case <-p.Exited():
		case <-r.timeout(8 * time.Minute).Done():
			r.Fatalf("%s does not end", line)
		}
		if p.Code() != 0 {
			r.Errorf("%s: exit %d\n%s", line, p.Code(), p.Tail(40))
		}
	}
	r.addNumbers("commands=%d took=%.0fs", min(2, len(commands)), time.Since(begun).Seconds())
}

// linkEnvironments gives a clone the Python environments and the modules that it has not made
// itself. scripts/setup has made them for this run by the same commands.
func linkEnvironments(root, clone string) error {
	for _, folder := range []string{"venvs", "modules"} {
		all, err := filepath.Glob(filepath.Join(root, ".local", folder, "*"))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(clone, ".local", folder), 0o755); err != nil {
			return err
		}
		for _, made := range all {
			link := filepath.Join(clone, ".local", folder, filepath.Base(made))
			if err := os.Symlink(made, link); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}
