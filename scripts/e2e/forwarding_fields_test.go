//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Chains of CDNs, load balancers and front-ends send forwarding fields twice, empty and as lists.
// None of them costs a request: what gunicorn answers behind the front-end alone, it answers under
// tideover, and the app is told the same. Where gunicorn alone refuses lines that differ, the app is
// told the last one.
func TestForwardingFieldsNeverCostARequest(t *testing.T) {
	t.Parallel()
	versions := []string{"20.1.0", "23.0.0", "latest"}
	names := slices.Sorted(maps.Keys(sloppyFronts()))
	for i, name := range names {
		for j, version := range versions {
			if i%len(versions) != j && !*full {
				continue
			}
			t.Run(name+"-"+version, func(t *testing.T) {
				r := begin(t)
				g := testenv.Gunicorn{App: "environ:app", Version: version, Workers: 1}
				alone, carried, daemon := r.startBoth(g, sloppyFronts()[name])
				s := &fixture{row: r, daemon: daemon}
				var c sloppyComparison
				kinds := sloppyKinds()
				for _, k := range kinds {
					k.Plain = true
					c.compare(r, alone, carried, k)
				}
				if n := s.counter("bad_request") + s.counter("bad_gateway"); n > 0 {
					r.Errorf("tideover has refused %d of %d requests or responses", n, len(kinds))
				}
				if c.same < len(kinds)/2 {
					r.Errorf("only %d of %d were answered: this tries the front-end and not tideover", c.same, len(kinds))
				}
				r.Logf("refused with and without tideover: %s", strings.Join(c.refused, ", "))
				r.addNumbers("compared=%d same=%d cleaned=%d refused_by_gunicorn_alone=%d", len(kinds), c.same, c.cleaned, c.rescued)
			})
		}
	}
}

// sloppyComparison counts what came of the requests.
type sloppyComparison struct {
	same    int      // the app was told the same
	cleaned int      // the app was told the same but for a field that is not legal
	rescued int      // gunicorn alone refuses it, and not under tideover
	refused []string // with and without tideover
}

// compare compares the answers that a request gets and what the app was told of it.
func (c *sloppyComparison) compare(r *row, alone, carried *loadgen.Client, k loadgen.Kind) {
	r.Helper()
	nonce := alone.Nonce()
	bare, through := alone.DoNamed(r.Context(), k, nonce), carried.DoNamed(r.Context(), k, nonce)
	was, is := toldOf(bare), toldOf(through)
	switch {
	case was == nil && is == nil && bare.Status == through.Status && bare.Status >= 400:
		c.refused = append(c.refused, fmt.Sprintf("%s (%d)", k.Name, bare.Status)) // by the front-end, or by gunicorn both times
		return
	case is == nil:
		r.Errorf("%s: %d %s, and %d without tideover", k.Name, through.Status, through.Cause, bare.Status)
		return
	case is["wsgi.url_scheme"] == `"https"` && !claimsHTTPS(is):
		r.Errorf("%s: the scheme is https, by X-Forwarded-Proto %s", k.Name, is["HTTP_X_FORWARDED_PROTO"])
	case was == nil:
		c.rescued++
		if lines := linesOf(is["HTTP_X_FORWARDED_PROTO"]); len(slices.Compact(lines)) != 1 {
			r.Errorf("%s: gunicorn alone refuses it, and the app was told the schemes %q", k.Name, lines)
		}
		return
	}
	c.same++
	if bare.Status != through.Status {
		r.Errorf("%s: status %d, and %d without tideover", k.Name, through.Status, bare.Status)
	}
	for _, key := range slices.Sorted(maps.Keys(merged(was, is))) {
		_, known := documentedDifferences[key]
		if known || was[key] == is[key] {
			continue
		}
		if isCleaned(key, was[key], is[key]) {
			c.cleaned++
			continue
		}
		r.Errorf("%s: %s is %s, and was %s without tideover", k.Name, key, is[key], was[key])
	}
}

// isCleaned reports whether a field has lost what RuleForwardingFields says, and nothing else: a
// scheme that is not legal, lines of it that differ from the last one, and of another field the
// elements up to one that is not legal.
func isCleaned(key, was, is string) bool {
	lines := linesOf(was)
	switch last := lines[len(lines)-1]; {
	case key == "HTTP_X_FORWARDED_PROTO" && strings.Contains(last, "<"):
		return is == ""
	case key == "HTTP_X_FORWARDED_PROTO":
		return slices.Equal(linesOf(is), []string{last})
	case !strings.Contains(was, "<"):
		return false
	}
	_, rest, _ := strings.Cut(was[strings.LastIndex(was, "<"):], ",")
	return strings.Trim(is, `" `) == strings.Trim(rest, `" `)
}

// linesOf splits a value as gunicorn joins lines. In the lists of sloppyKinds a blank follows a comma.
func linesOf(value string) []string {
	lines := strings.Split(strings.ReplaceAll(strings.Trim(value, `"`), ", ", ";"), ",")
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], ";", ", ")
	}
	return lines
}

// claimsHTTPS reports whether each line of a field says https in the words that gunicorn takes for it.
func claimsHTTPS(told map[string]string) bool {
	for key, secure := range map[string]string{"PROTO": "https", "PROTOCOL": "ssl", "SSL": "on"} {
		if lines := slices.Compact(linesOf(told["HTTP_X_FORWARDED_"+key])); len(lines) == 1 && lines[0] == secure {
			return true
		}
	}
	return false
}

// toldOf returns what the app was told, each value as JSON; nil: the answer is not the app's.
func toldOf(a loadgen.Answer) map[string]string {
	facts := map[string]json.RawMessage{}
	if json.Unmarshal(a.Body, &facts) != nil {
		return nil
	}
	told := map[string]string{}
	for key, value := range facts {
		told[key] = string(value)
	}
	return told
}

// sloppyFronts are front-ends as they are configured in public: each passes on what it received, or
// appends to it.
func sloppyFronts() map[string]frontStarter {
	haproxy := func(lines ...string) frontStarter {
		return func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Extra: "    option forwardfor", Upstream: "    " + strings.Join(lines, "\n    ")})
		}
	}
	nginx := func(lines ...string) frontStarter {
		return func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			set := "proxy_set_header Host $http_host;\n"
			for _, line := range lines {
				set += "proxy_set_header " + line + ";\n"
			}
			return r.Nginx(b, testenv.ProxyConfig{Extra: set})
		}
	}
	return map[string]frontStarter{
		"haproxy": haproxy(),
		"haproxy-router": haproxy( // as OpenShift's router
			"http-request add-header X-Forwarded-Host %[req.hdr(host)]", "http-request add-header X-Forwarded-Port 8080",
			"http-request add-header X-Forwarded-Proto http if !{ ssl_fc }", "http-request add-header X-Forwarded-Proto https if { ssl_fc }",
			"http-request add-header Forwarded for=%[src];host=%[req.hdr(host)];proto=%[req.hdr(X-Forwarded-Proto)]"),
		"haproxy-cloudflare": haproxy("http-request add-header X-Forwarded-Proto https", "http-request set-header X-Real-IP %[req.hdr(CF-Connecting-IP)]"),
		"haproxy-ssl":        haproxy("http-request set-header X-Forwarded-Ssl %[ssl_fc]", "http-request set-header X-Forwarded-Proto %[req.hdr(X-Forwarded-Proto)]"),
		"haproxy-ports":      haproxy("http-request set-header X-Forwarded-Port 8080", "http-request add-header X-Forwarded-Port 443", "http-request add-header X-Real-IP %[src]"),
		"nginx-passes": nginx("X-Forwarded-Proto $http_x_forwarded_proto", "X-Forwarded-Port $http_x_forwarded_port", "X-Forwarded-Host $http_x_forwarded_host",
			"X-Forwarded-For $http_x_forwarded_for", "X-Real-IP $http_x_forwarded_for"),
		"nginx-appends": nginx(`X-Forwarded-Proto "$http_x_forwarded_proto, $scheme"`, `X-Forwarded-Port "$http_x_forwarded_port, 8080"`,
			"X-Forwarded-For $proxy_add_x_forwarded_for", "X-Real-IP $proxy_add_x_forwarded_for", "X-Forwarded-Ssl $https"),
		"nginx-cloudflare": nginx("X-Forwarded-Proto $http_x_forwarded_proto", "X-Forwarded-For $http_cf_connecting_ip", "X-Real-IP $http_cf_connecting_ip",
			"X-Forwarded-Ssl 1"),
		"apache-appends": apache(testenv.Apache{Params: "nocanon", Extra: "AllowEncodedSlashes NoDecode\nRequestHeader append X-Forwarded-Proto \"http\"\n" +
			"RequestHeader append X-Forwarded-Port \"80\"\nRequestHeader merge X-Real-IP \"expr=%{REMOTE_ADDR}\""}),
		"apache-adds": apache(testenv.Apache{Params: "nocanon", Extra: "AllowEncodedSlashes NoDecode\nRequestHeader add X-Forwarded-Proto \"http\"\n" +
			"RequestHeader add X-Real-IP \"expr=%{HTTP:CF-Connecting-IP}\""}),
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{Extra: "trusted_proxies 127.0.0.0/8"})
		},
	}
}

// sloppyKinds are requests as a front-end gets them from what is in front of it, or from a client
// that makes fields up.
func sloppyKinds() []loadgen.Kind {
	cloudflare := []string{"CF-Connecting-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", `CF-Visitor: {"scheme":"https"}`, "CDN-Loop: cloudflare"}
	alb := []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678"}
	kinds := []loadgen.Kind{
		{Name: "browser"},
		{Name: "Cloudflare", Header: cloudflare},
		{Name: "AWS load balancer", Header: alb},
		{Name: "AWS load balancer in front of http", Header: append(slices.Clone(alb), "X-Forwarded-Proto: http")},
		{Name: "Heroku", Header: []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Request-Start: 1790000000000", "Via: 1.1 vegur"}},
		{Name: "two balancers", Header: []string{"X-Forwarded-For: 203.0.113.9, 10.0.0.1", "X-Forwarded-Proto: https, http", "X-Forwarded-Port: 443, 80",
			"X-Real-IP: 203.0.113.9, 10.0.0.1", "CF-Connecting-IP: 203.0.113.9"}},
		{Name: "two balancers of one kind", Header: append(slices.Clone(alb), "X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Forwarded-For: 10.0.0.1")},
		{Name: "empty fields", Header: []string{"X-Forwarded-For:", "X-Forwarded-Proto:", "X-Forwarded-Port:", "X-Real-IP:", "X-Forwarded-Ssl:"}},
		{Name: "X-Forwarded-Ssl: 1", Header: []string{"X-Forwarded-Ssl: 1"}},
		{Name: "X-Forwarded-Ssl: on, on", Header: []string{"X-Forwarded-Ssl: on, on"}},
		{Name: "X-Forwarded-Ssl twice", Header: []string{"X-Forwarded-Ssl: off", "X-Forwarded-Ssl: off"}},
		{Name: "IPv6 with a port", Header: []string{"X-Forwarded-For: [2001:db8::1]:4711", "X-Real-IP: 2001:db8::1", "CF-Connecting-IP: 2001:db8::1"}},
		{Name: "made up fields", Header: []string{"X-Forwarded-For: ' OR 1=1 <x>", "X-Forwarded-Port: <443>", "X-Real-IP: <x>", "CF-Connecting-IP: <x>"}},
		{Name: "made up fields in a list", Header: []string{"X-Forwarded-For: <x>, 203.0.113.9", "X-Real-IP: 203.0.113.9, <x>", "CF-Connecting-IP: 203.0.113.9"}},
		{Name: "a made up scheme", Header: []string{"X-Forwarded-Proto: <https>", "X-Forwarded-For: 203.0.113.9"}},
		{Name: "a claimed scheme", Header: []string{"X-Forwarded-Proto: https, https", "X-Forwarded-Protocol: ssl, ssl"}},
		{Name: "UTF-8 in the path", Path: "/caf\xc3\xa9"},
		{Name: "Latin-1 in the query", Query: "q=caf\xe9"},
		{Name: "a named field that is not there", Header: []string{"Connection: close, X-Not-There"}},
		{Name: "equal lengths of the app", Query: "lengths=2"},
	}
	for _, status := range []int{299, 404, 599, 600, 700, 999} {
		kinds = append(kinds, loadgen.Kind{Name: fmt.Sprint("status ", status), Query: fmt.Sprintf("status=%d+Custom", status)})
	}
	return kinds
}
