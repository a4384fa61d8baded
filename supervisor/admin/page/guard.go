package page

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// contentPolicy allows what this origin serves, nothing inline, and no frame around it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard is before every path of the page.
func (p *Page) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		switch {
		case !p.isOurs(r.Host):
			http.Error(w, "The page does not answer by this name: ask by an address or by localhost, or add the name to hosts in [daemon.admin_auth].", http.StatusMisdirectedRequest)
		case !isSameOrigin(r):
			http.Error(w, "another site may not ask", http.StatusForbidden)
		default:
			next(w, r)
		}
	}
}

// isOurs reports whether the host that the client has asked for cannot be the name of another site,
// whose owner lets it lead here (DNS rebinding): an address has no owner, localhost is this machine, and
// the configuration names others.
func (p *Page) isOurs(host string) bool {
	name := host
	if only, _, err := net.SplitHostPort(host); err == nil {
		name = only
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		slices.ContainsFunc(p.options.Hosts, func(ours string) bool { return strings.EqualFold(ours, name) })
}

// isSameOrigin reports whether the request is not of a page of another site, as far as the browser
// says: a link to the page may be anywhere.
func isSameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}
