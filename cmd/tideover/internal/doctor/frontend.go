package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/config"
)

// frontEnd is a kind of front-end: how its files are recognised, and its timeout of an answer.
type frontEnd struct {
	name     string
	proxies  *regexp.Regexp // a line with the address of an app
	timeout  *regexp.Regexp // its first group is the time
	standard time.Duration  // without such a line
	remedy   string
}

var kindsOfFrontEnd = []frontEnd{
	{"nginx", regexp.MustCompile(`(?m)^\s*(?:proxy_pass|server)\s+[^;{]*;`), regexp.MustCompile(`(?m)^\s*proxy_read_timeout\s+([^;]+);`),
		60 * time.Second, "proxy_read_timeout 100s;"},
	{"HAProxy", regexp.MustCompile(`(?m)^\s*server\s+\S+\s+\S+.*$`), regexp.MustCompile(`(?m)^\s*timeout\s+server\s+(\S+)`),
		0, "timeout server 100s"},
	{"Apache", regexp.MustCompile(`(?mi)^\s*(?:ProxyPass|BalancerMember)\s+.*$`), regexp.MustCompile(`(?mi)(?:^\s*ProxyTimeout\s+|[\s,]timeout=)(\d+)`),
		60 * time.Second, "ProxyTimeout 100"},
}

// frontEnds checks the configurations of front-ends that have the address of an app in them.
func (x *examination) frontEnds() {
	for _, pattern := range x.FrontEnds {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			for _, a := range x.File.Apps {
				if a.Web() {
					x.frontEnd(path, string(text), a)
				}
			}
		}
	}
}

func (x *examination) frontEnd(path, text string, a *config.App) {
	for _, kind := range kindsOfFrontEnd {
		at := mentions(kind.proxies, text, a.Listen)
		if at == nil {
			continue
		}
		line := strings.Count(text[:at[0]], "\n") + 1
		if text[at[0]] == '\n' {
			line++
		}
		add := func(remedy, format string, args ...any) {
			x.add(Finding{Check: "front-end", App: a.Name, Place: fmt.Sprintf("%s:%d", path, line), Message: kind.name + ": " + fmt.Sprintf(format, args...), Remedy: remedy})
		}
		limit := kind.standard
		if m := kind.timeout.FindStringSubmatch(text); m != nil {
			limit = frontEndTime(m[1])
		}
		if limit > 0 && limit <= a.Hold.Timeout {
			add(kind.remedy, "it waits %v for an answer, and a request may be held for %v (hold.timeout): clients would get a 504", limit, a.Hold.Timeout)
		}
		proxied := text[at[0]:at[1]]
		if strings.Contains(proxied, "localhost") {
			add("write 127.0.0.1", "localhost is two addresses, ::1 and 127.0.0.1: a connection to the wrong one is refused")
		}
		if kind.name == "nginx" && regexp.MustCompile(`(?m)^\s*proxy_next_upstream\s[^;]*non_idempotent`).MatchString(text) {
			add("remove non_idempotent", "proxy_next_upstream non_idempotent sends a POST again that may have been carried out")
		}
		if kind.name == "HAProxy" && a.Hold.Alive == "" && regexp.MustCompile(`\scheck\b`).MatchString(proxied) {
			add(`hold.alive = "/-/alive" of the app, and option httpchk GET /-/alive`, "its health check is held with all other requests: a long hold looks like a dead server")
		}
		return
	}
}

// mentions returns where a line that matches pattern has one of the addresses.
func mentions(pattern *regexp.Regexp, text string, listen []string) []int {
	for _, at := range pattern.FindAllStringIndex(text, -1) {
		for _, address := range listen {
			if hasAddress(text[at[0]:at[1]], address) {
				return at
			}
		}
	}
	return nil
}

// hasAddress reports whether a line proxies to an address of an app.
func hasAddress(line, address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return strings.Contains(line, path)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	hosts := []string{host}
	if host == "" || host == "0.0.0.0" || host == "127.0.0.1" || host == "::" {
		hosts = append(hosts, "127.0.0.1", "localhost")
	}
	for _, h := range hosts {
		if regexp.MustCompile(regexp.QuoteMeta(net.JoinHostPort(h, port)) + `\b`).MatchString(line) {
			return true
		}
	}
	return false
}

// frontEndTime is a time of nginx ("100s", "2m"), HAProxy ("100s", "5000": milliseconds) or Apache
// (seconds).
func frontEndTime(text string) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.Atoi(text); err == nil {
		if n >= 1000 {
			return time.Duration(n) * time.Millisecond
		}
		return time.Duration(n) * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}
