package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/lazyregexp"
)

// frontEnd is a kind of front-end: how its files are recognised, and its timeout of an answer.
type frontEnd struct {
	name     string
	main     string             // pattern of the name of the file whose settings count in all others
	proxies  *lazyregexp.Regexp // a line with the address of an app
	timeout  *lazyregexp.Regexp // its first group is the time
	fallback *lazyregexp.Regexp // of the timeout, in main only; nil: none
	standard time.Duration      // without any such line; 0: no limit
	remedy   string
}

var kindsOfFrontEnd = []frontEnd{
	{"nginx", "nginx.conf", lazyregexp.New(`(?m)^\s*(?:proxy_pass|server)\s+[^;{]*;`), lazyregexp.New(`(?m)^\s*proxy_read_timeout\s+([^;]+);`), nil,
		60 * time.Second, "proxy_read_timeout 100s;"},
	{"HAProxy", "haproxy.cfg", lazyregexp.New(`(?m)^\s*server\s+\S+\s+\S+.*$`), lazyregexp.New(`(?m)^\s*timeout\s+server\s+(\S+)`), nil,
		0, "timeout server 100s"},
	{"Apache", "*.conf", lazyregexp.New(`(?mi)^\s*(?:ProxyPass|BalancerMember)\s+.*$`), lazyregexp.New(`(?mi)(?:^\s*ProxyTimeout\s+|[\s,]timeout=)(\d+)`),
		lazyregexp.New(`(?mi)^\s*Timeout\s+(\d+)`), 60 * time.Second, "ProxyTimeout 100"},
	{"Caddy", "Caddyfile", lazyregexp.New(`(?m)^\s*reverse_proxy\s+.*$`), lazyregexp.New(`(?m)^\s*(?:response_header_timeout|read_timeout)\s+(\S+)`), nil,
		0, "response_header_timeout 100s, or no such line"},
}

// mistake is a setting of a front-end by which requests are lost, or sent twice.
type mistake struct {
	kind    string
	setting *lazyregexp.Regexp
	message string
	remedy  string
}

var mistakes = []mistake{
	{"nginx", lazyregexp.New(`(?m)^\s*proxy_next_upstream\s[^;]*non_idempotent`),
		"proxy_next_upstream non_idempotent sends a POST again that may have been carried out", "remove non_idempotent"},
	{"Caddy", lazyregexp.New(`(?m)^\s*(?:fail_duration\s+[1-9]|unhealthy_(?:status|latency|request_count)\s)`),
		"a passive health check makes Caddy answer 503 by itself after one failure, and no request reaches tideover",
		"remove fail_duration and unhealthy_*: there is one server, and tideover holds what it cannot answer"},
	{"HAProxy", lazyregexp.New(`(?m)^\s*(?:default-server|server)\s.*\bobserve\s+layer7\b`),
		"observe layer7 takes the server out after errors of the app, and no request reaches tideover", "remove observe layer7"},
}

// healthCheck is how a kind of front-end asks a server whether it lives.
var healthCheck = map[string]struct {
	setting *lazyregexp.Regexp
	remedy  string
}{
	"HAProxy": {lazyregexp.New(`(?m)^\s*server\s.*\scheck\b`), "option httpchk GET /-/alive"},
	"Caddy":   {lazyregexp.New(`(?m)^\s*health_uri\s`), "health_uri /-/alive"},
	"Apache":  {lazyregexp.New(`(?mi)^\s*(?:ProxyPass|BalancerMember)\s.*\bhcuri=`), "hcuri=/-/alive"},
}

// frontEndFile is one file that was read.
type frontEndFile struct{ path, text string }

// frontEnds checks the configurations of front-ends that have the address of an app in them.
func (x *examination) frontEnds() {
	var files []frontEndFile
	for _, pattern := range x.FrontEnds {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			known := slices.ContainsFunc(files, func(f frontEndFile) bool { return f.path == path })
			if text, err := os.ReadFile(path); err == nil && !known {
				files = append(files, frontEndFile{path, string(text)})
			}
		}
	}
	for _, file := range files {
		for _, a := range x.File.Apps {
			if a.Web() {
				x.frontEnd(file, files, a)
			}
		}
	}
}

func (x *examination) frontEnd(file frontEndFile, all []frontEndFile, a *config.App) {
	for _, kind := range kindsOfFrontEnd {
		at := mentions(kind.proxies, file.text, a.Listen)
		if at == nil {
			continue
		}
		x.configured[kind.name] = true
		line := strings.Count(file.text[:at[0]], "\n") + 1
		if file.text[at[0]] == '\n' {
			line++
		}
		add := func(remedy, format string, args ...any) {
			x.add(Finding{Check: "front-end", App: a.Name, Place: fmt.Sprintf("%s:%d", file.path, line), Message: kind.name + ": " + fmt.Sprintf(format, args...), Remedy: remedy})
		}
		if limit := kind.limit(file, all); limit > 0 && limit <= a.Hold.Timeout {
			add(kind.remedy, "it waits %v for an answer, and a request may be held for %v (hold.timeout): clients would get a 504", limit, a.Hold.Timeout)
		}
		if strings.Contains(file.text[at[0]:at[1]], "localhost") {
			add("write 127.0.0.1", "localhost is two addresses, ::1 and 127.0.0.1: a connection to the wrong one is refused")
		}
		for _, m := range mistakes {
			if m.kind == kind.name && m.setting.MatchString(file.text) {
				add(m.remedy, "%s", m.message)
			}
		}
		if check, ok := healthCheck[kind.name]; ok && a.Hold.Alive == "" && check.setting.MatchString(file.text) {
			add(`hold.alive = "/-/alive" of the app, and `+check.remedy, "its health check is held with all other requests: a long hold looks like a dead server")
		}
		return
	}
}

// limit is how long a front-end waits for an answer: by the file with the app, else by its main file.
func (k frontEnd) limit(file frontEndFile, all []frontEndFile) time.Duration {
	if m := k.timeout.FindStringSubmatch(file.text); m != nil {
		return k.time(m[1])
	}
	for _, other := range all {
		if ok, _ := filepath.Match(k.main, filepath.Base(other.path)); !ok || k.name == "Apache" && !isApacheMain(other.path) {
			continue
		}
		for _, pattern := range []*lazyregexp.Regexp{k.timeout, k.fallback} {
			if pattern == nil {
				continue
			}
			if m := pattern.FindStringSubmatch(other.text); m != nil {
				return k.time(m[1])
			}
		}
	}
	return k.standard
}

func isApacheMain(path string) bool {
	return slices.Contains([]string{"apache2.conf", "httpd.conf"}, filepath.Base(path))
}

// mentions returns where a line that matches pattern has one of the addresses.
func mentions(pattern *lazyregexp.Regexp, text string, listen []string) []int {
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

// time is a time of a configuration: "100s" or "2m"; without a unit milliseconds of HAProxy, and
// seconds of the others. 0: it cannot be read.
func (k frontEnd) time(text string) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.Atoi(text); err == nil {
		if k.name == "HAProxy" {
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
