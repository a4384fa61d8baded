package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A front-end is recognised by its response, and its timeout is named where none of its
// configuration was read.
func TestAFrontEndIsRecognisedByItsResponse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		field, value string
		status       int
		configured   string
		want         []string // words of each finding
	}{
		{"Server", "nginx/1.22.1", 200, "", []string{"nginx answers, and none of its configuration files"}},
		{"Server", "nginx", 200, "nginx", nil},
		{"Server", "Apache/2.4.71 (Debian)", 200, "", []string{"ProxyTimeout, else Timeout (60 s; 300 s in Debian)"}},
		{"Via", "1.1 Caddy", 200, "", []string{"Caddy answers"}},
		{"Server", "cloudflare", 200, "", []string{"its proxy read timeout (100 s)"}},
		{"Server", "gunicorn", 200, "", []string{"no front-end is recognised"}},
		{"Server", "nginx", 502, "nginx", []string{"it answers 502 Bad Gateway"}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(test.field, test.value)
			w.WriteHeader(test.status)
		}))
		x := &examination{Examined: Examined{URLs: []string{server.URL}}, configured: map[string]bool{test.configured: true}}
		x.urls(t.Context())
		server.Close()
		if len(x.found) != len(test.want) {
			t.Errorf("%s: %s: %v", test.field, test.value, x.found)
			continue
		}
		for i, f := range x.found {
			if !strings.Contains(f.Message, test.want[i]) || f.Place != server.URL {
				t.Errorf("%s: %s: %+v, not %q", test.field, test.value, f, test.want[i])
			}
		}
	}
}

func TestAFrontEndThatDoesNotAnswerIsAFinding(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	x := &examination{Examined: Examined{URLs: []string{server.URL, "::"}}}
	x.urls(t.Context())
	if len(x.found) != 2 || x.found[0].Note || !strings.Contains(x.found[0].Message, "it does not answer") || !strings.Contains(x.found[1].Message, "it is no URL") {
		t.Errorf("%+v", x.found)
	}
}
