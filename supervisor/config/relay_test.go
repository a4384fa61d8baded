package config

import (
	"slices"
	"strings"
	"testing"
)

// TestTLSInTheServerNeedsNoRelay: what a relay of HTTP refuses is possible where none is.
func TestTLSInTheServerNeedsNoRelay(t *testing.T) {
	for command, want := range map[string]string{ // the command that is executed
		"gunicorn -b :8443 --certfile c --keyfile k shop:app":                  "gunicorn -b :8443 --certfile c --keyfile k shop:app",
		"gunicorn -b :8443 --proxy-protocol v1 shop:app":                       "gunicorn -b :8443 --proxy-protocol v1 shop:app",
		"gunicorn -b :8443 --protocol uwsgi shop:app":                          "gunicorn -b :8443 --protocol uwsgi shop:app",
		"uvicorn --port 8443 --ssl-keyfile k --ssl-certfile c app:app":         "uvicorn --fd {fd} --ssl-keyfile k --ssl-certfile c app:app",
		"hypercorn --bind 0.0.0.0:8443 --certfile c --keyfile k app:app":       "hypercorn --bind fd://{fd} --certfile c --keyfile k app:app",
		"./grpc-server --listen-fd {fd}":                                       "./grpc-server --listen-fd {fd}",
		"./server-that-knows-sd_listen_fds":                                    "./server-that-knows-sd_listen_fds",
		"gunicorn -b :8443 -b unix:/run/x.sock --certfile c shop:app":          "gunicorn -b :8443 -b unix:/run/x.sock --certfile c shop:app",
		"gunicorn --reload -b :8443 --certfile=c --cert-reqs 2 -w 4 shop:app":  "gunicorn --reload -b :8443 --certfile=c --cert-reqs 2 -w 4 shop:app",
		"python -m uvicorn --workers 2 --host ::1 --ssl-certfile=c app:app":    "python -m uvicorn --fd {fd} --workers 2 --ssl-certfile=c app:app",
		"gunicorn -b :8443 --certfile c --keyfile k -k gthread shop:app":       "gunicorn -b :8443 --certfile c --keyfile k -k gthread shop:app",
		"gunicorn -b :8443 --certfile c -k uvicorn_worker.UvicornWorker a:app": "gunicorn -b :8443 --certfile c -k uvicorn_worker.UvicornWorker a:app",
	} {
		a, err := FromCommand(CommandOptions{Command: strings.Fields(command), Directory: "/srv", Relay: "none"})
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		if got := strings.Join(a.Argv(), " "); got != want || a.Web() || !a.Direct() || a.ReloadMode() != Overlap {
			t.Errorf("%s:\n%s, relayed %v, direct %v, %s", command, got, a.Web(), a.Direct(), a.ReloadMode())
		}
		if !strings.Contains(command, "cert") && !strings.Contains(command, "--protocol") {
			continue
		}
		if _, err := FromCommand(CommandOptions{Command: strings.Fields(command), Directory: "/srv"}); err == nil || !strings.Contains(err.Error(), `relay = "none" (--relay none)`) {
			t.Errorf("%s with a relay: %v", command, err)
		}
	}
}

// TestWhatCannotServeOnThePublicSocketIsRefused, with the remedy.
func TestWhatCannotServeOnThePublicSocketIsRefused(t *testing.T) {
	for command, want := range map[string]string{
		"granian --interface wsgi shop:app":         "cannot serve on an inherited socket",
		"uv run uvicorn app:app":                    "run uvicorn itself",
		"serve --port {port}":                       "write {fd}",
		"serve --unix {socket}":                     "write {fd}",
		"gunicorn --reuse-port --certfile c app":    "--reuse-port",
		"gunicorn -D --certfile c app":              "--daemon",
		"uv run gunicorn -b unix:/run/shop.s app":   "would remove the file of the public unix socket",
		"hypercorn --quic-bind 0.0.0.0:443 app:app": "HTTP/3",
	} {
		_, err := FromCommand(CommandOptions{Command: strings.Fields(command), Directory: "/srv", Relay: "none"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}

// TestSettingsOfTheRelayWarnWithoutOne, but not those that [defaults] gives to every app.
func TestSettingsOfTheRelayWarnWithoutOne(t *testing.T) {
	const text = `
[defaults]
hold.timeout = "20s"
trusted = ["10.0.0.0/8"]
[app.shop]
command = "gunicorn -b :8443 --certfile c shop:app"
relay = "none"
hold.limit = 10
trusted = ["10.0.0.0/8"]
limits = { nofile = 1024, body = "1MiB" }
`
	f, _ := load(t, map[string]string{"tideover.toml": text})
	var got []string
	for _, w := range f.Warnings {
		if key, _, ok := strings.Cut(w.Message, ` means nothing with relay = "none"`); ok {
			got = append(got, key)
		}
	}
	slices.Sort(got)
	if want := []string{"hold.limit", "limits.body", "trusted"}; !slices.Equal(got, want) {
		t.Errorf("warnings for %q, want %q", got, want)
	}
}

// TestEveryKeyOfTheRelayIsKnownAsOne: a key of a section that only the relay reads is in the list.
func TestEveryKeyOfTheRelayIsKnownAsOne(t *testing.T) {
	known := map[string]bool{}
	for _, k := range AppKeys() {
		known[k.Path] = true
	}
	for _, key := range append(relayKeys, processLimits...) {
		section := strings.HasSuffix(key, ".")
		if !section && !known[key] && key != "listen_proxy_protocol" {
			t.Errorf("%s is no key", key)
		}
	}
	for _, path := range []string{"command", "listen", "listen_mode", "relay", "reload", "ready.path", "stop.timeout", "limits.nofile", "log.file"} {
		if !known[path] || isRelayKey(path) {
			t.Errorf("%s has a meaning without a relay", path)
		}
	}
}

// TestReadinessWithoutAProbeIsNamed: only gunicorn has a private socket beside the public one.
func TestReadinessWithoutAProbeIsNamed(t *testing.T) {
	for lines, want := range map[string]string{
		"command = \"serve {fd}\"":                                               "set ready.notify or ready.command",
		"command = \"serve {fd}\"\nready.notify = true":                          "",
		"command = \"serve {fd}\"\nready.command = \"check\"":                    "",
		"command = \"serve {fd}\"\nready.notify = true\nready.path = \"/up\"":    "ready.path means nothing",
		"command = \"gunicorn app\"\nready.path = \"/up\"":                       "",
		"command = \"gunicorn app\"\nready.notify = true":                        "gunicorn sends READY=1 before",
		"command = \"gunicorn --protocol uwsgi app\"":                            "set ready.command",
		"command = \"gunicorn --protocol uwsgi app\"\nready.command = \"check\"": "",
	} {
		f, _ := load(t, map[string]string{"tideover.toml": "[app.shop]\nlisten = \":8000\"\nrelay = \"none\"\n" + lines + "\n"})
		var all []string
		for _, w := range f.Warnings {
			all = append(all, w.Message)
		}
		if text := strings.Join(all, "\n"); want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%s\nwarnings %q, want %q", lines, text, want)
		}
	}
}
