//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// balancers counts the network namespaces of this process.
var balancers atomic.Int64

// clientRow is an app that shows what it is told of a request, under tideover.
type clientRow struct {
	*row
	shop   *testenv.App
	daemon *testenv.Tideover
}

// startClientRow starts a command whose app is environ.py. The command has {bind} for its public
// address, which must be address.
func startClientRow(r *row, address string, argv []string, o testenv.RunOptions) *clientRow {
	r.Helper()
	c := &clientRow{row: r}
	text := r.environApp()
	var err error
	c.shop, err = r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	_, err = r.env.Write("shop/environ.py", text)
	r.must(err)
	for _, word := range argv {
		o.Command = append(o.Command, placed(word, address))
	}
	c.daemon, err = r.env.Tideover(c.shop, o)
	r.must(err)
	r.must(testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() error {
		now, err := c.daemon.Status(r.timeout(5 * time.Second))
		if err == nil && now.State != "running" {
			err = fmt.Errorf("%s: %s", now.State, c.daemon.Tail(20))
		}
		return err
	}))
	return c
}

// placed is a word of clientServers with the public address.
func placed(word, address string) string {
	host, port, _ := net.SplitHostPort(address)
	return strings.NewReplacer("{bind}", address, "{bind-host}", host, "{bind-port}", port).Replace(word)
}

// tell returns what the app is told of a request from a local address.
func (c *clientRow) tell(from, address string, fields ...string) map[string]string {
	c.Helper()
	a, err := tellFrom(c.timeout(20*time.Second), from, address, fields...)
	if err != nil {
		c.Fatalf("from %s: %v: %s", from, err, c.daemon.Tail(20))
	}
	return a.told
}

func tellFrom(ctx context.Context, from, address string, fields ...string) (environAnswer, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client := &environClient{address, &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		},
	}}}
	return client.ask(ctx, fields...)
}

// clientOf is the address of the client in what the app was told.
func clientOf(told map[string]string) string {
	if client, asgi := told["client"]; asgi {
		return addressOf(client)
	}
	return strings.Trim(told["REMOTE_ADDR"], `"`)
}

func schemeOf(told map[string]string) string {
	return strings.Trim(told["scheme"]+told["wsgi.url_scheme"], `"`)
}

// clientServers are commands whose app learns the address of its client, with {bind}, or {bind-host}
// and {bind-port}, for the public address.
func clientServers(r *row) map[string][]string {
	g := func(version, class, app string, more ...string) []string {
		return append([]string{r.env.Venv("gunicorn-"+version, "gunicorn"), "-w", "1", "-k", class, "-b", "{bind}", app}, more...)
	}
	return map[string][]string{
		"20.1.0-gthread": g("20.1.0", "gthread", "environ:app", "--threads", "2"),
		"23.0.0-sync":    g("23.0.0", "sync", "environ:app"),
		"latest-gevent":  g("latest", "gevent", "environ:app"),
		"latest-asgi":    g("latest", "asgi", "environ:scope"),
		"23.0.0-uvicorn": g("23.0.0", "uvicorn_worker.UvicornWorker", "environ:scope"),
		"uvicorn":        {r.env.Venv("servers", "uvicorn"), "environ:scope", "--host", "{bind-host}", "--port", "{bind-port}"},
	}
}

var clientServerNames = []string{"20.1.0-gthread", "23.0.0-sync", "latest-gevent", "latest-asgi", "23.0.0-uvicorn", "uvicorn"}

// A client of another address than this machine's is never 127.0.0.1 for the app, over reloads,
// restarts, crashes and upgrades of tideover.
func TestADirectClientIsNeverTakenForThisMachine(t *testing.T) {
	t.Parallel()
	for _, name := range clientServerNames {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			binary, address := r.env.Path("tideover"), r.unusedAddress()
			r.must(install(r, binary))
			c := startClientRow(r, address, clientServers(r)[name], testenv.RunOptions{Binary: binary})
			check := func(when string) {
				r.Helper()
				for _, from := range []string{"127.0.0.9", "127.0.0.1", "127.0.0.9"} {
					if told := c.tell(from, address); clientOf(told) != from {
						r.Errorf("%s: the client is %s for the app, not %s", when, clientOf(told), from)
					}
				}
			}
			check("at first")
			for _, verb := range []string{"reload", "restart"} {
				_, outcome, err := c.daemon.Operate(r.timeout(60*time.Second), verb)
				if err != nil || outcome.Exit != 0 {
					r.Fatalf("%s: %v %v", verb, err, outcome)
				}
				check("after " + verb)
			}
			r.must(install(r, binary))
			r.must(c.daemon.Signal(syscall.SIGUSR2))
			f := &fixture{row: r, daemon: c.daemon}
			r.must(testenv.Poll(r.timeout(30*time.Second), 10*time.Millisecond, func() error { return f.runsFrom(binary) }))
			check("after an upgrade")
			now, err := c.daemon.Status(r.timeout(10 * time.Second))
			r.must(err)
			r.must(syscall.Kill(now.Pid, syscall.SIGKILL))
			f.waitGeneration(now.Generation + 1)
			check("after kill -9")
		})
	}
}

// A balancer on another address, which the command trusts (--forwarded-allow-ips), names the scheme
// and, in ASGI, the client. One that is not trusted names nothing, and the log says so.
func TestABalancerOnAnotherAddress(t *testing.T) {
	t.Parallel()
	const sent, client = "X-Forwarded-Proto: https", "203.0.113.7"
	for _, name := range clientServerNames {
		for _, trusts := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s-%v", name, trusts), func(t *testing.T) {
				r := begin(t)
				server, balancer, tell := r.balancer()
				_, port, _ := net.SplitHostPort(r.unusedAddress())
				argv, flags := clientServers(r)[name], []string(nil)
				if trusts {
					argv = append(argv, "--forwarded-allow-ips=*")
				} else {
					flags = []string{"--trusted", "192.0.2.1"}
				}
				c := startClientRow(r, "0.0.0.0:"+port, argv, testenv.RunOptions{Flags: flags})
				told, err := tell(net.JoinHostPort(server, port), sent, "X-Forwarded-For: "+client)
				r.must(err)
				_, asgi := told["client"]
				wantClient, wantScheme := balancer, "http"
				if trusts && !strings.Contains(name, "asgi") { // gunicorn's own asgi workers have no scheme of it
					wantScheme = "https"
				}
				if trusts && asgi && strings.Contains(name, "uvicorn") {
					wantClient = client
				}
				if clientOf(told) != wantClient || schemeOf(told) != wantScheme && !strings.Contains(name, "asgi") {
					r.Errorf("the client is %s, not %s, and the scheme %s, not %s", clientOf(told), wantClient, schemeOf(told), wantScheme)
				}
				if !trusts {
					r.checkLogged(c.daemon, "front-end not trusted")
				}
				wantSaid := map[bool]int{true: 0, false: 1}[trusts]
				if said := strings.Count(c.daemon.Tail(100), "front-end not trusted"); said != wantSaid {
					r.Errorf("the log says %d times that the front-end is not trusted, not %d: %s", said, wantSaid, c.daemon.Tail(20))
				}
			})
		}
	}
}

// balancer returns the address of this machine that a balancer on another one connects to, that of
// the balancer, and a function that sends a request from there. The other machine is a network
// namespace; where none can be made, it is another address of loopback.
func (r *row) balancer() (server, balancer string, tell func(address string, fields ...string) (map[string]string, error)) {
	r.Helper()
	id := os.Getpid()%1000*64 + int(balancers.Add(1))%64
	name := fmt.Sprintf("td%d", id)
	server, balancer = fmt.Sprintf("10.213.%d.%d", id/64%256, id%64*4+1), fmt.Sprintf("10.213.%d.%d", id/64%256, id%64*4+2)
	for _, words := range []string{
		"netns add " + name, "link add " + name + "a type veth peer name " + name + "b netns " + name,
		"addr add " + server + "/30 dev " + name + "a", "link set " + name + "a up",
		"-n " + name + " addr add " + balancer + "/30 dev " + name + "b", "-n " + name + " link set " + name + "b up",
	} {
		if err := exec.Command("ip", strings.Fields(words)...).Run(); err != nil {
			exec.Command("ip", "netns", "del", name).Run()
			r.addNumbers("namespace=none")
			return "127.0.0.1", "127.0.0.9", func(address string, fields ...string) (map[string]string, error) {
				a, err := tellFrom(r.timeout(20*time.Second), "127.0.0.9", address, fields...)
				return a.told, err
			}
		}
	}
	r.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	r.addNumbers("namespace=%s", name)
	return server, balancer, func(address string, fields ...string) (map[string]string, error) {
		words := []string{"netns", "exec", name, "curl", "-sS", "http://" + address + "/a/b?c=d", "--max-time", "20"}
		for _, f := range fields {
			words = append(words, "-H", f)
		}
		out, err := exec.Command("ip", words...).Output()
		if err != nil {
			return nil, err
		}
		return factsOf(out)
	}
}

// The address of a client comes from HAProxy's PROXY header, of both versions: with
// listen_proxy_protocol, and where gunicorn's own settings ask for it. What comes without a header is
// closed.
func TestPROXYHeadersOfTheFrontEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"23.0.0-sync", "23.0.0-uvicorn", "uvicorn", "latest-asgi", "own-settings"} {
		for _, send := range []string{"send-proxy", "send-proxy-v2"} {
			t.Run(name+"-"+send, func(t *testing.T) {
				r := begin(t)
				address := r.unusedAddress()
				server := strings.Replace(name, "own-settings", "20.1.0-gthread", 1)
				o := testenv.RunOptions{}
				argv := clientServers(r)[server]
				c := (*clientRow)(nil)
				if name == "own-settings" {
					c = startClientRow(r, address, append(argv, "--proxy-protocol"), o)
				} else {
					c = startConfigured(r, address, argv, "listen_proxy_protocol = true")
				}
				front, err := r.env.HAProxy(testenv.Backend(address), testenv.ProxyConfig{Params: send})
				r.must(err)
				for _, from := range []string{"127.0.0.9", "127.0.0.8", "127.0.0.9"} {
					if told := c.tell(from, front.Address); clientOf(told) != from {
						r.Errorf("the client is %s for the app, not %s", clientOf(told), from)
					}
				}
				if a, err := tellFrom(r.timeout(10*time.Second), "127.0.0.9", address); err == nil {
					r.Errorf("a connection without a header was served: %v", a.told)
				}
			})
		}
	}
}

// startConfigured is startClientRow with a configuration.
func startConfigured(r *row, address string, argv []string, lines string) *clientRow {
	r.Helper()
	for i := range argv {
		argv[i] = placed(argv[i], address)
	}
	path, err := r.env.Write("tideover.toml", fmt.Sprintf("[app.shop]\ncommand = %s\nlisten = %q\ndirectory = %q\n%s\n", tomlArray(argv), address, r.env.Path("shop"), lines))
	r.must(err)
	return startClientRow(r, address, nil, testenv.RunOptions{Name: "shop", Flags: []string{"-c", path}})
}

// A wrapper that overwrites GUNICORN_CMD_ARGS keeps the PROXY protocol from gunicorn: the app is
// served without, and the log says what it does not see.
func TestAWrapperThatOverwritesGunicornsOptions(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"20.1.0", "23.0.0", "latest"} {
		t.Run(version, func(t *testing.T) {
			r := begin(t)
			address := r.unusedAddress()
			argv := []string{"env", "GUNICORN_CMD_ARGS=--workers=1", r.env.Venv("gunicorn-"+version, "gunicorn"), "-b", address, "environ:app"}
			c := startClientRow(r, address, argv, testenv.RunOptions{})
			for range 2 {
				told := c.tell("127.0.0.9", address)
				if clientOf(told) != "" {
					r.Errorf("the client is %q; the log is %s", clientOf(told), c.daemon.Tail(20))
				}
				r.checkLogged(c.daemon, "no PROXY lines")
				if _, outcome, err := c.daemon.Operate(r.timeout(60*time.Second), "reload"); err != nil || outcome.Exit != 0 {
					r.Fatalf("reload: %v %v", err, outcome)
				}
			}
		})
	}
}

// The private socket of gunicorn's WSGI workers is of tideover alone: no other user can connect to
// it, and nothing of the app listens on TCP.
func TestNoOtherUserReachesThePrivateSocket(t *testing.T) {
	r := begin(t)
	a := newAttack(r)
	address := r.unusedAddress()
	text := r.environApp()
	a.write(filepath.Join(a.srv, "environ.py"), appUser, 0o644, text)
	// The environments of the tests may be where www-data cannot read them. Without an interpreter of
	// the system the app runs as the daemon.
	packages, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(r.env.Venv("gunicorn-latest", "python"))), "lib", "python3*", "site-packages"))
	r.must(err)
	for _, name := range []string{"gunicorn", "packaging"} {
		r.must(os.CopyFS(filepath.Join(a.srv, "lib", name), os.DirFS(filepath.Join(packages[0], name))))
	}
	python, user := "/usr/bin/python3", "user = \"www-data\"\n"
	if _, err := os.Stat(python); err != nil {
		python, user = r.env.Venv("gunicorn-latest", "python"), ""
	}
	a.start(fmt.Sprintf("[app.shop]\ncommand = %s\nlisten = %q\ndirectory = \"{srv}\"\n%strusted = []\nenv = { PYTHONPATH = \"{srv}/lib\" }\n",
		tomlArray([]string{python, "-m", "gunicorn", "-w", "1", "environ:app"}), address, user), "shop")
	now, err := a.daemon.StatusOf(r.timeout(10*time.Second), "shop")
	r.must(err)
	sockets, err := filepath.Glob(filepath.Join(filepath.Dir(a.daemon.Socket), "*.sock"))
	r.must(err)
	tried := 0
	for _, path := range sockets {
		if path == a.daemon.Socket {
			continue
		}
		tried++
		for _, uid := range []int{localUser, appUser} {
			err := a.as(uid, func() error {
				conn, err := net.Dial("unix", path)
				if err == nil {
					conn.Close()
				}
				return err
			})
			if !errors.Is(err, syscall.EACCES) {
				r.Errorf("uid %d connects to %s: %v", uid, path, err)
			}
		}
	}
	if tried == 0 {
		r.Errorf("no private socket beside %s", a.daemon.Socket)
	}
	out, err := exec.Command("ss", "-Hltnp").Output()
	r.must(err)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", now.Pid)) {
			r.Errorf("the app listens on TCP: %s", line)
		}
	}
	r.addNumbers("sockets=%d", tried)
}
