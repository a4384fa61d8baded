package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// urlTimeout is how long a front-end may take to answer.
const urlTimeout = 40 * time.Second

// timeoutsOf says where each kind of front-end has its timeout of an answer, and what it is without one.
var timeoutsOf = map[string]string{
	"nginx":      "proxy_read_timeout (60 s)",
	"HAProxy":    "timeout server",
	"Apache":     "ProxyTimeout, else Timeout (60 s; 300 s in Debian)",
	"Caddy":      "response_header_timeout and read_timeout (none)",
	"Cloudflare": "its proxy read timeout (100 s)",
	"AWS ALB":    "idle_timeout.timeout_seconds (60 s)",
	"Traefik":    "forwardingTimeouts.responseHeaderTimeout (none)",
	"Envoy":      "the timeout of the route (15 s)",
}

// signs are words in header fields of a response by which a front-end is recognised; the nearest to
// the client writes Server.
var signs = []struct{ field, word, kind string }{
	{"Server", "nginx", "nginx"}, {"Server", "openresty", "nginx"}, {"Server", "apache", "Apache"}, {"Server", "caddy", "Caddy"}, {"Via", "caddy", "Caddy"},
	{"Server", "cloudflare", "Cloudflare"}, {"Server", "awselb", "AWS ALB"}, {"Server", "envoy", "Envoy"}, {"Server", "haproxy", "HAProxy"}, {"Via", "haproxy", "HAProxy"},
}

// urls sends a request to each URL and recognises the front-end by the response.
func (x *examination) urls(ctx context.Context) {
	for _, url := range x.URLs {
		x.url(ctx, url)
	}
}

func (x *examination) url(ctx context.Context, url string) {
	add := func(note bool, remedy, format string, args ...any) {
		x.add(Finding{Check: "front-end", Place: url, Message: fmt.Sprintf(format, args...), Remedy: remedy, Note: note})
	}
	ctx, cancel := context.WithTimeout(ctx, urlTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		add(false, "--url http://NAME/PATH", "it is no URL: %v", err)
		return
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		add(false, "see the error log of the front-end, and its address", "it does not answer: %v", err)
		return
	}
	response.Body.Close()
	kind := recognise(response.Header)
	if response.StatusCode == http.StatusBadGateway || response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusGatewayTimeout {
		add(false, "tideover logs --daemon has a line `error response` if it was tideover's; else the front-end does not reach the app", "it answers %s", response.Status)
	}
	switch {
	case kind == "":
		add(true, "", "no front-end is recognised in the response (HAProxy and others name themselves nowhere); its timeout of an answer must be longer than hold.timeout")
	case !x.configured[kind]:
		add(true, "", "%s answers, and none of its configuration files that were read (--front-end FILE) has an address of an app; its timeout of an answer, %s, must be longer than hold.timeout",
			kind, timeoutsOf[kind])
	}
}

// recognise is the kind of front-end that sent a response; empty: unknown.
func recognise(header http.Header) string {
	for _, s := range signs {
		for _, value := range header.Values(s.field) {
			if strings.Contains(strings.ToLower(value), s.word) {
				return s.kind
			}
		}
	}
	return ""
}
