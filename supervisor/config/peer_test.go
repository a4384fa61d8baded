package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tideover/supervisor/gunicorn"
)

// The private socket, and how the app learns the address of its client, follow from the kind of the
// workers, the public socket and the key upstream.
func TestHowTheAppLearnsItsClientsAddress(t *testing.T) {
	const tcp, unix = `"0.0.0.0:8000"`, `"unix:/run/shop.sock"`
	g := func(kind string) *gunicorn.Report {
		return &gunicorn.Report{Version: "23.0.0", Bind: []string{":1"}, WorkerKind: kind, ForwardedAllowIPs: []string{"127.0.0.1", "::1"}, ProxyAllowIPs: []string{"127.0.0.1", "::1"}}
	}
	trusting := func(kind string, ips ...string) *gunicorn.Report {
		r := g(kind)
		r.ForwardedAllowIPs, r.ProxyAllowIPs = ips, ips
		return r
	}
	for _, c := range []struct {
		command, listen, upstream string
		report                    *gunicorn.Report
		unix                      bool
		peer                      PeerPassing
		args                      string // for GUNICORN_CMD_ARGS
	}{
		{"gunicorn a", tcp, "auto", g("sync"), true, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "auto", g("gthread"), true, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "auto", g("gevent"), true, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "auto", g("eventlet"), true, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", unix, "auto", g("sync"), true, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "auto", trusting("sync", "10.0.0.1"), true, PeerProxyLine, "--proxy-protocol"}, // a unix peer is trusted always
		{"gunicorn a", tcp, "tcp", g("sync"), false, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "tcp", trusting("sync", "10.0.0.1"), false, PeerProxyLine, "--forwarded-allow-ips 127.0.0.1 --proxy-allow-from 127.0.0.1 --proxy-protocol"},
		{"gunicorn a", tcp, "tcp", trusting("sync", "127.0.0.0/8"), false, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", tcp, "auto", g("asgi"), false, PeerProxyLine, "--proxy-protocol"},
		{"gunicorn a", unix, "auto", g("asgi"), true, PeerInFields, ""}, // it answers 400 to the line there
		{"gunicorn a", tcp, "auto", g("uvicorn"), false, PeerOneForwardedFor, ""},
		{"gunicorn a", tcp, "auto", trusting("uvicorn", "10.0.0.1"), false, PeerOneForwardedFor, "--forwarded-allow-ips 127.0.0.1"},
		{"gunicorn a", tcp, "auto", trusting("uvicorn", "*"), false, PeerOneForwardedFor, ""},
		{"gunicorn a", unix, "auto", g("uvicorn"), true, PeerInFields, ""},
		{"gunicorn a", tcp, "auto", g(""), false, PeerInFields, ""}, // a worker class of another project
		{"gunicorn a", tcp, "unix", g(""), true, PeerInFields, ""},
		{"gunicorn a", tcp, "auto", nil, false, PeerInFields, ""}, // gunicorn has not told its settings
		{"uvicorn a:a", tcp, "auto", nil, false, PeerOneForwardedFor, ""},
		{"uvicorn a:a --no-proxy-headers", tcp, "auto", nil, false, PeerInFields, ""},
		{"uvicorn a:a", unix, "auto", nil, true, PeerInFields, ""},
		{"uvicorn a:a", tcp, "unix", nil, true, PeerInFields, ""},
		{"uvicorn a:a --fd {fd}", tcp, "auto", nil, false, PeerOneForwardedFor, ""},
		{"uvicorn a:a --uds {socket}", tcp, "auto", nil, true, PeerInFields, ""},
		{"fastapi run", tcp, "auto", nil, false, PeerOneForwardedFor, ""},
		{"hypercorn a:a", tcp, "auto", nil, false, PeerInFields, ""},
		{"daphne a:a", tcp, "auto", nil, false, PeerInFields, ""},
		{"python serve.py {fd}", tcp, "auto", nil, false, PeerInFields, ""},
		{"python serve.py {socket}", tcp, "auto", nil, true, PeerInFields, ""},
		{"python serve.py {port}", unix, "auto", nil, false, PeerInFields, ""},
	} {
		f, _ := load(t, map[string]string{"tideover.toml": fmt.Sprintf("[app.shop]\ncommand = %q\nlisten = %s\nupstream = %q\n", c.command, c.listen, c.upstream)})
		a := f.Apps[0]
		if c.report != nil {
			var err error
			if a, err = a.WithGunicornReport(*c.report); err != nil {
				t.Fatal(err)
			}
		}
		if a.opensUnix() != c.unix || a.PeerPassing() != c.peer || a.GunicornArgs() != c.args {
			t.Errorf("%s, %s, upstream %s, %+v: unix %v, peer %v, %q", c.command, c.listen, c.upstream, c.report, a.opensUnix(), a.PeerPassing(), a.GunicornArgs())
		}
		blind := slices.ContainsFunc(a.Warnings(), func(p Problem) bool { return strings.Contains(p.Message, "127.0.0.1 for every client") })
		if known := c.report != nil || a.Gunicorn == nil; blind != (known && !c.unix && c.peer == PeerInFields) {
			t.Errorf("%s, %s, upstream %s: %v", c.command, c.listen, c.upstream, a.Warnings())
		}
	}
}

// The front-ends that the server itself would trust are the trusted ones, unless the key trusted or
// --trusted says otherwise.
func TestTrustedFollowsTheCommand(t *testing.T) {
	for _, c := range []struct {
		command, more, want string
		argv                string
	}{
		{"uvicorn a:a", "", "127.0.0.0/8 ::1 unix", "uvicorn --fd {fd} a:a"},
		{"uvicorn a:a --forwarded-allow-ips *", "", "0.0.0.0/0 ::/0 unix", "uvicorn --fd {fd} a:a --forwarded-allow-ips *"},
		{"uvicorn a:a --forwarded-allow-ips=127.0.0.1,10.0.0.7", "", "127.0.0.1 10.0.0.7 unix", "uvicorn --fd {fd} a:a --forwarded-allow-ips=127.0.0.1,10.0.0.7"},
		{"uvicorn a:a --forwarded-allow-ips 10.0.0.0/8", "", "10.0.0.0/8 unix", "uvicorn --fd {fd} --forwarded-allow-ips 127.0.0.1 a:a"},
		{"uvicorn a:a", `env = { FORWARDED_ALLOW_IPS = "10.0.0.7" }`, "10.0.0.7 unix", "uvicorn --fd {fd} --forwarded-allow-ips 127.0.0.1 a:a"},
		{"uvicorn a:a", `env = { UVICORN_FORWARDED_ALLOW_IPS = "10.0.0.8", FORWARDED_ALLOW_IPS = "10.0.0.7" }`, "10.0.0.8 unix", "uvicorn --fd {fd} --forwarded-allow-ips 127.0.0.1 a:a"},
		{"uvicorn a:a --forwarded-allow-ips 10.0.0.7", `trusted = ["192.0.2.0/24"]`, "192.0.2.0/24", "uvicorn --fd {fd} --forwarded-allow-ips 127.0.0.1 a:a"},
		{"fastapi run", `env = { FORWARDED_ALLOW_IPS = "*" }`, "0.0.0.0/0 ::/0 unix", "fastapi run --host 127.0.0.1 --port {port}"},
		{"hypercorn a:a", `env = { FORWARDED_ALLOW_IPS = "*" }`, "127.0.0.0/8 ::1 unix", "hypercorn --bind fd://{fd} a:a"},
	} {
		f, _ := load(t, map[string]string{"tideover.toml": fmt.Sprintf("[app.shop]\ncommand = %q\nlisten = \":8000\"\n%s\n", c.command, c.more)})
		a := f.Apps[0]
		if got := strings.Join(a.Trusted, " "); got != c.want || strings.Join(a.Argv(), " ") != c.argv {
			t.Errorf("%s, %s: trusted %s, command %q", c.command, c.more, got, strings.Join(a.Argv(), " "))
		}
	}
}

// A gunicorn whose own settings ask for the PROXY protocol gets its public socket so, with headers
// from the addresses from which gunicorn itself takes them.
func TestAGunicornWithProxyProtocolGetsItFromTheFrontEnd(t *testing.T) {
	report := gunicorn.Report{Version: "23.0.0", Bind: []string{":1"}, WorkerKind: "sync", ForwardedAllowIPs: []string{"127.0.0.1"}, ProxyAllowIPs: []string{"10.0.0.7"}, ProxyProtocol: true,
		RequestLine: 4094, RequestFields: 100, RequestFieldSize: 8190}
	for _, c := range []struct {
		more   string
		report func(*gunicorn.Report)
		want   bool
		from   string
		warns  string
	}{
		{"", func(*gunicorn.Report) {}, true, "[10.0.0.7]", "health check"},
		{"", func(r *gunicorn.Report) { r.ProxyAllowIPs = []string{"*"} }, true, "[0.0.0.0/0 ::/0]", "health check"},
		{"", func(r *gunicorn.Report) { r.ProxyAllowIPs = []string{"127.0.0.1", "::1"} }, true, "[127.0.0.1 ::1]", "proxy_allow_ips names"},
		{"listen_proxy_protocol = false", func(*gunicorn.Report) {}, false, "[]", ""},
		{"listen_proxy_protocol = true", func(r *gunicorn.Report) { r.ProxyProtocol = false }, true, "[]", "trusted names"},
		{"listen_proxy_protocol = true\ntrusted = [\"10.0.0.7\"]", func(r *gunicorn.Report) { r.ProxyProtocol = false }, true, "[]", ""},
		{"", func(r *gunicorn.Report) { r.ProxyProtocol = false }, false, "[]", ""},
	} {
		f, _ := load(t, map[string]string{"tideover.toml": "[app.shop]\ncommand = \"gunicorn -b 0.0.0.0:1 a\"\n" + c.more + "\n"})
		r := report
		c.report(&r)
		a, err := f.Apps[0].WithGunicornReport(r)
		if err != nil || a.ListenProxyProtocol != c.want || fmt.Sprint(a.ProxyProtocolFrom) != c.from {
			t.Errorf("%q: %v, from %v, %v", c.more, a.ListenProxyProtocol, a.ProxyProtocolFrom, err)
		}
		if w := fmt.Sprint(a.Warnings()); c.warns != "" && !strings.Contains(w, c.warns) || c.warns == "" && w != "[]" {
			t.Errorf("%q: warnings %s", c.more, w)
		}
	}
	f, _ := load(t, map[string]string{"tideover.toml": "[app.shop]\ncommand = \"gunicorn -b :1 a --proxy-protocol\"\n"})
	if !f.Apps[0].ListenProxyProtocol {
		t.Error("the option of the command line does not count before gunicorn has told its settings")
	}
}
