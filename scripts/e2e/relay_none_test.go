//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// newConnections is Everyday of clients that keep no connection.
func newConnections() []loadgen.Kind {
	var all []loadgen.Kind
	for _, k := range loadgen.Everyday() {
		k.Keep = false
		all = append(all, k)
	}
	return all
}

// certificate writes a certificate and its key and returns gunicorn's options.
func (r *row) certificate() []string {
	r.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	r.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	r.must(err)
	var options []string
	for _, f := range []struct {
		option, name, kind string
		content            []byte
	}{{"--certfile", "cert.pem", "CERTIFICATE", cert}, {"--keyfile", "key.pem", "PRIVATE KEY", der}} {
		var text bytes.Buffer
		r.must(pem.Encode(&text, &pem.Block{Type: f.kind, Bytes: f.content}))
		path, err := r.env.Write(f.name, text.String())
		r.must(err)
		options = append(options, f.option, path)
	}
	return options
}

// With relay = "none" a gunicorn has the public socket itself, also with TLS. Reloads, restarts and
// killed masters lose no new connection. The control group is the same gunicorn without tideover,
// in the same run: HUP, and the restart of a simple deploy script.
func TestRelayNone(t *testing.T) {
	t.Parallel()
	type variant struct {
		name              string
		gunicorn          testenv.Gunicorn
		tls               bool
		reloads, restarts int
	}
	variants := []variant{
		{"tls", testenv.Gunicorn{Workers: 2}, true, 4, 1},
		{"sync-20.1.0", testenv.Gunicorn{Version: "20.1.0", Workers: 2}, false, 2, 1},
	}
	if *full {
		variants = []variant{
			{"tls", testenv.Gunicorn{Workers: 2}, true, 100, 20},
			{"sync", testenv.Gunicorn{Workers: 2}, false, 100, 20},
			{"tls-gthread", testenv.Gunicorn{Workers: 2, Class: "gthread"}, true, 20, 4},
			{"tls-23.0.0", testenv.Gunicorn{Version: "23.0.0", Workers: 2}, true, 20, 4},
			{"sync-23.0.0", testenv.Gunicorn{Version: "23.0.0", Workers: 2}, false, 20, 4},
			{"tls-20.1.0", testenv.Gunicorn{Version: "20.1.0", Workers: 2}, true, 20, 4},
			{"sync-20.1.0", testenv.Gunicorn{Version: "20.1.0", Workers: 2}, false, 20, 4},
		}
	}
	for _, c := range variants {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			release := testenv.Release{Number: 1, Import: 0.2}
			if c.tls {
				c.gunicorn.Args = append(slices.Clone(c.gunicorn.Args), r.certificate()...)
			}
			s := newFixture(r, setup{gunicorn: c.gunicorn, tls: c.tls, release: release, flags: flags("--relay", "none")})
			s.checkGoesStraight()
			if !c.tls {
				s.checkNoPeerIsClaimed()
			}
			s.client.Timeout = 2 * time.Minute // no time limit of tideover ends a wait
			// Also at full size what the machine carries: without hold.limit a queue that grows has no end.
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: s.affordableRate(20), Mix: newConnections()})
			for range c.reloads {
				s.reload()
			}
			for range c.restarts {
				s.restart()
			}
			s.killMaster()
			s.event("stop and start", s.stopAndStart)
			s.addNumbers("reloads=%d restarts=%d", c.reloads, c.restarts)
			s.finish()
			s.shutdown()
			r.control(c.gunicorn, c.tls, release)
		})
	}
}

// stopAndStart stops the app, as for a migration, and starts it again: connections wait meanwhile.
func (s *fixture) stopAndStart() {
	s.Helper()
	for _, verb := range []string{"stop", "start"} {
		outcome, err := s.daemon.Call(s.timeout(operationTimeout), verb, s.daemon.App)
		s.must(err)
		if outcome.Exit != 0 {
			s.Errorf("%s: %v", verb, outcome)
		}
	}
}

// control counts what gunicorn loses without tideover, under the same load.
func (r *row) control(g testenv.Gunicorn, tls bool, release testenv.Release) {
	r.Helper()
	app, err := r.env.NewApp("control", release)
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	g.Bind = address
	g.Args = append(slices.Clone(g.Args), "--graceful-timeout", "3")
	alone, err := r.env.Direct(app, g)
	r.must(err)
	client := &loadgen.Client{Address: address, TLS: tls, Prefix: "c"}
	answers := func() error {
		a := client.Do(r.Context(), loadgen.Kind{Name: "control"})
		if a.Loss != "" || a.Echo["release"] != fmt.Sprint(app.Release().Number) {
			return fmt.Errorf("release %s: %s", a.Echo["release"], a.Cause)
		}
		return nil
	}
	r.must(testenv.Poll(r.timeout(20*time.Second), 20*time.Millisecond, answers))
	load := loadgen.Start(loadgen.Plan{Client: client, Rate: 40, Mix: newConnections()})
	count := func(do func()) loadgen.Tally {
		_, err := app.DeployNext()
		r.must(err)
		window := load.Open()
		do()
		r.must(testenv.Poll(r.timeout(20*time.Second), 20*time.Millisecond, answers))
		return window.Close()
	}
	hup := count(func() { r.must(alone.Signal(syscall.SIGHUP)) })
	restart := count(func() { r.must(alone.Restart()) })
	load.Stop()
	r.addNumbers("control_hup=%d/%d control_restart=%d/%d", hup.Lost(), hup.Ended, restart.Lost(), restart.Ended)
	if restart.Lost() == 0 {
		r.Errorf("the control group has lost nothing, so the load would not see a loss: %v", restart)
	}
}

// checkGoesStraight checks that a worker of gunicorn has the connection of a client, and no process
// of tideover.
func (s *fixture) checkGoesStraight() {
	s.Helper()
	conn, err := net.Dial("tcp", string(s.back))
	s.must(err)
	if s.client.TLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	defer conn.Close()
	nonce := s.client.Nonce()
	_, err = fmt.Fprintf(conn, "POST /?nonce=%s HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", nonce)
	s.must(err)
	s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", nonce))
	holders := s.connectionHolders() // the app waits for the body
	_, err = io.WriteString(conn, "x")
	s.must(err)
	answer, err := io.ReadAll(conn)
	isWorker := func(pid string) bool { return strings.Contains(string(answer), " pid="+pid+" ") }
	if len(holders) == 0 || !isWorker(holders[0]) || slices.ContainsFunc(holders, func(pid string) bool { return pid != holders[0] }) {
		s.Errorf("the connection is one of %v, the answer is %q, %v", holders, answer, err)
	}
	before := s.daemonTicks()
	const requests = 200
	for range requests {
		s.client.Do(s.Context(), loadgen.Kind{Name: "straight"})
	}
	ticks := s.daemonTicks() - before
	s.addNumbers("straight=yes daemon_cpu=%dms/%d", 10*ticks, requests)
	if ticks > 10 {
		s.Errorf("tideover itself has used %d ms of CPU for %d requests", 10*ticks, requests)
	}
}

// checkNoPeerIsClaimed checks that gunicorn is not told to believe PROXY lines, which any client of
// the public socket could send.
func (s *fixture) checkNoPeerIsClaimed() {
	s.Helper()
	conn, err := net.Dial("tcp", string(s.back))
	s.must(err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /environ HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	s.must(err)
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		s.Errorf("a client sent a PROXY line, and the answer is %.300q", answer)
	}
}

// daemonTicks is the CPU time that tideover has used, in hundredths of a second.
func (s *fixture) daemonTicks() (ticks int) {
	s.Helper()
	for _, pid := range s.daemon.Processes() {
		ticks += int(cpuOf(pid) * clockTicks / time.Second)
	}
	return ticks
}

// connectionHolders returns the processes that have accepted a connection to the public address.
func (s *fixture) connectionHolders() (pids []string) {
	s.Helper()
	_, text, err := net.SplitHostPort(string(s.back))
	s.must(err)
	port, err := strconv.Atoi(text)
	s.must(err)
	table, err := os.ReadFile("/proc/net/tcp")
	s.must(err)
	inodes := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		const established = "01"
		if f := strings.Fields(line); len(f) > 9 && f[3] == established && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	s.must(err)
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && inodes[target] {
			pids = append(pids, strings.Split(link, "/")[2])
		}
	}
	return pids
}

// What a reload with relay = "none" may cost, as the table of the guide says: requests on kept
// connections end with their worker, and what a server does with connections that it has accepted
// when it is told to stop is its own affair. No client is ever refused.
func TestRelayNoneCosts(t *testing.T) {
	t.Parallel()
	const ready = `ready.command = ["sh", "-c", "grep -q \"^ready .* $TIDEOVER_GENERATION\" requests.log"]`
	gthread := func(version string) setup {
		return setup{gunicorn: testenv.Gunicorn{Version: version, Workers: 2, Class: "gthread"}, config: `relay = "none"`}
	}
	gevent := setup{gunicorn: testenv.Gunicorn{Workers: 2, Class: "gevent"}, config: `relay = "none"`}
	variants := map[string]setup{"gthread": gthread("latest")}
	if *full {
		variants["gthread-20"], variants["gthread-23"], variants["gevent"] = gthread("20.1.0"), gthread("23.0.0"), gevent
		variants["uvicorn"] = setup{config: "relay = \"none\"\n" + ready}
	}
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			if name == "uvicorn" {
				o.command = r.serverCommand("uvicorn-fd")
			}
			o.release = testenv.Release{Number: 1, Import: 0.2}
			s := newFixture(r, o)
			keep := &loadgen.Client{Address: string(s.back), Prefix: "k"}
			var kept []loadgen.Kind
			for _, k := range newConnections() {
				k.Keep = true
				kept = append(kept, k)
			}
			fresh := loadgen.Start(loadgen.Plan{Client: s.client, Rate: 20, Mix: newConnections()})
			reused := loadgen.Start(loadgen.Plan{Client: keep, Rate: 40, Mix: kept})
			for range times(3) {
				s.must(s.operateQuietly("reload", "--wait-drain"))
			}
			news, keeps := fresh.Stop(), reused.Stop()
			r.addNumbers("reloads=%d new=%d/%d kept=%d/%d %s", times(3), news.Lost(), news.Ended, keeps.Lost(), keeps.Ended, keeps.Ways())
			if refused := news.Losses[loadgen.Refused] + keeps.Losses[loadgen.Refused]; refused > 0 {
				r.Errorf("%d clients were refused", refused)
			}
			// The others may close a connection at SIGTERM that they have accepted and not read from.
			if slices.Contains([]string{"gthread", "gthread-20", "gevent"}, name) {
				r.checkNothingLost(news)
			}
			s.shutdown()
		})
	}
}

// What else takes the socket by its number, or by LISTEN_FDS, and says itself when it is ready.
func TestRelayNoneOfOtherServers(t *testing.T) {
	t.Parallel()
	// The worker of this generation has written that it is ready.
	const ready = `ready.command = ["sh", "-c", "grep -q \"^ready .* $TIDEOVER_GENERATION\" requests.log"]`
	for _, c := range []struct {
		name, config string
		command      func(r *row) []string
		tls          bool
		posts        bool // it reads bodies of any kind
	}{
		{"uvicorn-fd", ready, func(r *row) []string { return r.serverCommand("uvicorn-fd") }, false, true},
		{"uvicorn-tls", ready, func(r *row) []string {
			options := r.certificate()
			return []string{r.env.Venv("servers", "uvicorn"), "--port", "8443", "--ssl-certfile", options[1], "--ssl-keyfile", options[3], "shop_asgi:app"}
		}, true, true},
		{"hypercorn", ready, func(r *row) []string {
			return []string{r.env.Venv("servers", "hypercorn"), "--bind", "127.0.0.1:8443", "shop_asgi:app"}
		}, false, true},
		{"python-notify", "ready.notify = true", func(r *row) []string {
			return []string{r.env.Venv("servers", "python"), "-u", "plain.py"}
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{command: c.command(r), tls: c.tls, config: "relay = \"none\"\n" + c.config, files: map[string]string{"plain.py": plainServer},
				release: testenv.Release{Number: 1, Import: 0.3}})
			mix := newConnections()
			if !c.posts {
				mix = slices.DeleteFunc(mix, func(k loadgen.Kind) bool { return k.Chunked })
			}
			s.startLoad(20, mix...)
			for range times(2) {
				s.must(s.operateQuietly("reload", "--wait-drain"))
			}
			s.must(s.operateQuietly("restart"))
			s.stopAndStart()
			tally := s.load.Stop()
			s.report(tally)
			if refused := tally.Losses[loadgen.Refused]; refused > 0 {
				r.Errorf("%d clients were refused", refused)
			}
			if c.name == "python-notify" { // the others close connections that have not sent a request yet
				r.checkNothingLost(tally)
			}
			s.shutdown()
		})
	}
}

// operateQuietly is operate without a deploy and without requests that are in flight for certain.
func (s *fixture) operateQuietly(verb string, args ...string) error {
	_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), verb, args...)
	if err == nil && outcome.Exit != 0 {
		err = fmt.Errorf("%s: %v", verb, outcome)
	}
	return err
}

// plainServer accepts on descriptor 3 and knows nothing of HTTP but what the standard library has.
const plainServer = `
import io, os, signal, socket, threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import shop

assert os.environ["LISTEN_FDS"] == "1" and int(os.environ["LISTEN_PID"]) == os.getpid()


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False  # server_close waits for the requests
    timeout = 0.2


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass


server = Server(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.socket.settimeout(0.2)  # which makes the shared description non-blocking
server.server_name, server.server_port = "127.0.0.1", server.socket.getsockname()[1]
server.setup_environ()



def app(environ, start_response):  # the input of wsgiref does not end with the body
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return shop.app(dict(environ, **{"wsgi.input": io.BytesIO(environ["wsgi.input"].read(length))}), start_response)


server.set_app(app)
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *args: ended.set())
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while not ended.is_set():
    server.handle_request()
server.server_close()
`

// tideover itself is upgraded, and killed: the app has its socket, and goes on.
func TestRelayNoneOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	for _, unix := range []bool{false, true} {
		if !sampled(!unix) {
			continue
		}
		name := map[bool]string{false: "tcp", true: "unix"}[unix]
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			binary := r.env.Path("tideover")
			r.must(install(r, binary))
			s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, unix: unix, release: testenv.Release{Number: 1, Import: 0.2},
				flags: flags("--relay", "none"), binary: binary})
			s.startLoad(40, newConnections()...)
			for range times(1) {
				s.upgrade(binary)
				s.reload()
				s.upgrade(binary)
				s.restart()
			}
			before, err := s.daemon.Status(s.timeout(10 * time.Second))
			s.must(err)
			s.event("kill -9 of the daemon", func() {
				s.killDaemon()
				s.must(s.daemon.StartAgain())
				s.waitGeneration(before.Generation + 1)
			})
			s.reload()
			s.finish()
			s.shutdown()
		})
	}
}

// An apply switches the relay of an app that runs off and on again.
func TestRelayIsSwitched(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, config: `relay = "http"`, release: testenv.Release{Number: 1, Import: 0.2}})
	s.startLoad(40, newConnections()...)
	path := s.env.Path("tideover.toml")
	for _, change := range [][2]string{{"http", "none"}, {"none", "http"}, {"http", "none"}} {
		text, err := os.ReadFile(path)
		s.must(err)
		s.must(os.WriteFile(path, bytes.Replace(text, []byte(`relay = "`+change[0]), []byte(`relay = "`+change[1]), 1), 0o644))
		s.event("relay = "+change[1], func() {
			outcome, err := s.daemon.Call(s.timeout(operationTimeout), "reload", s.daemon.App)
			s.must(err)
			if outcome.Exit != 5 || !strings.Contains(outcome.Stderr, "tideover apply") {
				s.Errorf("reload with another relay: %v", outcome)
			}
			outcome, err = s.daemon.Call(s.timeout(operationTimeout), "apply")
			s.must(err)
			if outcome.Exit != 0 {
				s.Errorf("apply: %v", outcome)
			}
		})
		status, err := s.daemon.Call(s.timeout(10*time.Second), "--json", "status", s.daemon.App)
		s.must(err)
		if direct := strings.Contains(status.Stdout, `"relay":"none"`) || strings.Contains(status.Stdout, `"relay": "none"`); direct != (change[1] == "none") {
			s.Errorf("after %v: %s", change, status.Stdout)
		}
		s.reload()
	}
	s.finish()
	s.checkGoesStraight() // the load is at its end: each connection counts
	s.shutdown()
}

// A gunicorn that speaks TLS goes from supervisord to tideover, as it is imported: its socket is
// duplicated, and no new connection is lost.
func TestMoveOfAServerWithTLS(t *testing.T) {
	r := begin(t)
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1, Import: 0.3})
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	r.must(os.MkdirAll(r.env.Path("bin"), 0o755))
	r.must(os.Symlink(testenv.Binary(r.env.Root), r.env.Path("bin", "tideover")))
	supervisord, err := r.env.Supervisord(shop, testenv.Gunicorn{Workers: 2, Bind: address, Args: r.certificate()}.Argv(r.env), "stopwaitsecs=40")
	r.must(err)
	m := &move{supervisord: supervisord, fixture: &fixture{row: r, app: shop, client: &loadgen.Client{Address: address, TLS: true, Prefix: "n"}}}
	m.vars = []string{"PATH=" + r.env.Path("bin") + ":" + os.Getenv("PATH"), "TIDEOVER_SOCKET=" + r.env.Path("control.sock")}
	r.must(waitAnswer(r, m.client))
	m.load = loadgen.Start(loadgen.Plan{Client: m.client, Rate: m.affordableRate(10), Mix: newConnections()})
	m.there()
	next, err := shop.DeployNext()
	m.must(err)
	if code, said := m.run([]string{m.env.Path("bin/tideover"), "reload", "--wait-drain", "shop"}); code != 0 {
		m.Errorf("reload: %d\n%s", code, said)
	}
	m.must(m.isRelease(next.Number))
	tally := m.load.Stop()
	m.addNumbers("%v", tally)
	m.checkNothingLost(tally)
	m.move("--back")
	m.must(waitAnswer(r, m.client))
	m.must(m.supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	m.checkNoneLeft()
}
