package gunicorn

import (
	"strings"
	"sync"
)

// optionTable lists the options of gunicorn 20 to 27: the spellings, X where a
// value follows ([X]: may follow), and the major version that introduced it.
const optionTable = `
-h --help
-v --version
-c --config X
-b --bind X
--backlog X
-w --workers X
-k --worker-class X
--threads X
--worker-connections X
--max-requests X
--max-requests-jitter X
-t --timeout X
--graceful-timeout X
--keep-alive X
--limit-request-line X
--limit-request-fields X
--limit-request-field_size X
--reload
--reload-engine X
--reload-extra-file X
--spew
--check-config
--print-config
--preload
--no-sendfile
--reuse-port
--chdir X
-D --daemon
-e --env X
-p --pid X
--worker-tmp-dir X
-u --user X
-g --group X
-m --umask X
--initgroups
--forwarded-allow-ips X
--access-logfile X
--disable-redirect-access-to-syslog
--access-logformat X
--error-logfile --log-file X
--log-level X
--capture-output
--logger-class X
--log-config X
--log-syslog-to X
--log-syslog
--log-syslog-prefix X
--log-syslog-facility X
-R --enable-stdio-inheritance
--statsd-host X
--dogstatsd-tags X
--statsd-prefix X
-n --name X
--pythonpath X
--paste --paster X
--proxy-protocol [X]
--proxy-allow-from X
--keyfile X
--certfile X
--ssl-version X
--cert-reqs X
--ca-certs X
--suppress-ragged-eofs
--do-handshake-on-connect
--ciphers X
--paste-global X
--strip-header-spaces
--log-config-json X 22
--permit-obsolete-folding 22
--permit-unconventional-http-method 22
--permit-unconventional-http-version 22
--casefold-http-method 22
--forwarder-headers X 22
--header-map X 22
--enable-backlog-metric 24
--protocol X 24
--uwsgi-allow-from X 24
--http-protocols X 25
--http2-cleartext X 26
--http2-max-concurrent-streams X 25
--http2-initial-window-size X 25
--http2-max-frame-size X 25
--http2-max-header-list-size X 25
--asgi-loop X 25
--asgi-lifespan X 25
--asgi-disconnect-grace-period X 25
--websocket-max-message-size X 26
--http-parser X 25
--root-path X 25
--dirty-app X 25
--dirty-workers X 25
--dirty-timeout X 25
--dirty-threads X 25
--dirty-graceful-timeout X 25
--control-socket X 25
--control-socket-mode X 25
--no-control-socket 25
`

// option is one line of optionTable.
type option struct {
	name      string // the last long spelling, without dashes
	spellings []string
	value     bool
	optional  bool
	newer     bool // not in gunicorn 20.1
}

// knownOptions returns the options of optionTable.
var knownOptions = sync.OnceValue(func() (options []option) {
	for line := range strings.Lines(strings.TrimSpace(optionTable)) {
		var o option
		for _, word := range strings.Fields(line) {
			switch {
			case strings.HasPrefix(word, "-"):
				o.spellings = append(o.spellings, word)
				o.name = strings.TrimLeft(word, "-")
			case word == "X":
				o.value = true
			case word == "[X]":
				o.optional = true
			default:
				o.newer = true
			}
		}
		options = append(options, o)
	}
	return options
})
