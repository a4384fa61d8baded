//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// What gunicorn tells the app about a request is what it told it behind the
// same front-end without tideover, but for these.
var documentedDifferences = map[string]string{
	"REMOTE_PORT":            "the connection to gunicorn is another one",
	"client":                 "its port: the same",
	"header x-forwarded-for": "exactly one address, for uvicorn",
	"SERVER_NAME":            "gunicorn's own socket is a private one, without an address: it comes from Host",
	"SERVER_PORT":            "the same",
	"server":                 "that of the private socket, in ASGI",
	"PROXY_PROTOCOL":         "gunicorn is told the client by a PROXY line",
	"PROXY_ADDR":             "the same",
	"PROXY_PORT":             "the same",
	"HTTP_X_REQUEST_START":   "added where the front-end has not",
	"header x-request-start": "the same, in ASGI",
	"HTTP_CONNECTION":        "belongs to one hop",
	"header connection":      "the same, in ASGI",
	"gunicorn.socket":        "shown by its type alone",
	"SERVER_PROTOCOL":        "each hop speaks its own version: nginx 1.0, if it is not told otherwise",
	"http_version":           "the same, in ASGI",
}

func TestEnviron(t *testing.T) {
	t.Parallel()
	for class, g := range map[string]testenv.Gunicorn{
		"sync": {App: "environ:app"}, "sync-20": {App: "environ:app", Version: "20.1.0"},
		"gthread": {App: "environ:app", Class: "gthread"}, "uvicorn": {App: "environ:scope", Class: testenv.UvicornWorker("").Class},
	} {
		for name, start := range map[string]frontStarter{
			"apache": apache(testenv.Apache{Params: "nocanon", Extra: "AllowEncodedSlashes NoDecode"}),
			"nginx":  plainNginx,
		} {
			if name == "nginx" && class != "sync" && class != "uvicorn" && !*full {
				continue
			}
			t.Run(class+"-"+name, func(t *testing.T) {
				r := begin(t)
				g.Workers = 1
				alone, carried, _ := r.startBoth(g, start)
				kinds := append(environKinds(), slices.DeleteFunc(wireKinds(), underscored)...)
				for _, k := range kinds {
					k.Plain, k.Method = true, strings.ReplaceAll(k.Method, "HEAD", "GET")
					r.compareEnviron(alone, carried, k)
				}
				r.checkUnderscores(carried, name == "nginx")
				r.addNumbers("compared=%d", len(kinds))
			})
		}
	}
}

// compareEnviron compares everything that the app was told about a request.
func (r *row) compareEnviron(alone, carried *loadgen.Client, k loadgen.Kind) {
	r.Helper()
	nonce := alone.Nonce()
	bare, through := r.readEnviron(alone, k, nonce), r.readEnviron(carried, k, nonce)
	for _, key := range slices.Sorted(maps.Keys(merged(bare, through))) {
		if _, known := documentedDifferences[key]; !known && bare[key] != through[key] {
			r.Errorf("%s: %s is %s, and was %s without tideover", k.Name, key, through[key], bare[key])
		}
	}
	if client, asgi := through["client"]; asgi {
		if addressOf(client) != addressOf(bare["client"]) {
			r.Errorf("%s: the client is %s, and was %s without tideover", k.Name, client, bare["client"])
		}
		if one := addressOf(through["header x-forwarded-for"]); one != addressOf(client) {
			r.Errorf("%s: X-Forwarded-For is %s, and the client %s", k.Name, through["header x-forwarded-for"], client)
		}
	}
	for _, key := range []string{"REMOTE_ADDR", "wsgi.url_scheme", "scheme"} {
		if _, there := bare[key]; there && through[key] == "" {
			r.Errorf("%s: no %s", k.Name, key)
		}
	}
}

// checkUnderscores: a name with an underscore is dropped, so that it is never taken
// for the one with dashes; one that looks like what tideover answers for is
// refused, unless the front-end has dropped it, as nginx does.
func (r *row) checkUnderscores(c *loadgen.Client, dropped bool) {
	r.Helper()
	told := r.readEnviron(c, loadgen.Kind{Name: "underscore", Plain: true, Header: []string{"X_Under: 1", "X-Under: 2"}}, c.Nonce())
	spelled := told["HTTP_X_UNDER"] + told["header x-under"]
	if spelled = strings.Trim(strings.Join(strings.Fields(spelled), ""), `["]`); spelled != "2" || told["header x_under"] != "" {
		r.Errorf("of X_Under: 1 and X-Under: 2 the app was told %q", spelled)
	}
	for _, line := range []string{"X_Forwarded_For: 192.0.2.66", "X_FORWARDED_PROTO: https", "X-Forwarded_Host: evil.test", "Content_Length: 3",
		"Transfer_Encoding: chunked", "X_Real_IP: 192.0.2.66", "Remote-User_: eve", "Forwarded_: for=1"} {
		name, _, _ := strings.Cut(line, ":")
		lookAlike := !strings.HasSuffix(name, "_")
		a := c.Do(r.Context(), loadgen.Kind{Name: line, Plain: true, Header: []string{line}})
		switch {
		case lookAlike && !dropped && a.Status != 400:
			r.Errorf("%s: %d, want 400", line, a.Status)
		case (!lookAlike || dropped) && (a.Status != 200 || strings.Contains(string(a.Body), "192.0.2.66") || strings.Contains(string(a.Body), "evil")):
			r.Errorf("%s: %d, and the app was told %.300s", line, a.Status, a.Body)
		}
	}
}

// environKinds are requests with fields that gunicorn gives a meaning.
func environKinds() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "https in front", Header: []string{"X-Forwarded-Proto: https"}},
		{Name: "a client's own hops", Header: []string{"X-Forwarded-For: 203.0.113.9"}},
		{Name: "query and escapes", Path: "/a%20b/%C3%A9;x=1", Query: "q=%26&q=a+b"},
		{Name: "content type", Body: 10, Header: []string{"Content-Type: text/x-odd; charset=latin1"}},
		{Name: "repeated fields", Header: []string{"X-A: 1", "X-A: 2", "Cookie: a=1; b=2", "Accept: */*"}},
		{Name: "https, in older words", Header: []string{"X-Forwarded-Ssl: on"}},
		{Name: "https, in the oldest words", Header: []string{"X-Forwarded-Protocol: ssl"}},
		{Name: "forwarded", Header: []string{`Forwarded: for="[2001:db8::1]:4711";proto=https, for=192.0.2.1`, "X-Real-IP: 203.0.113.9"}},
		{Name: "the app's prefix", Path: "/shop/a", Header: []string{"SCRIPT_NAME: /shop"}},
		{Name: "the app's prefix, with a dash", Path: "/shop/a", Header: []string{"Script-Name: /shop"}},
		{Name: "the path", Header: []string{"PATH_INFO: /elsewhere"}},
		{Name: "the user", Header: []string{"REMOTE_USER: alice"}},
		{Name: "the user, with a dash", Header: []string{"Remote-User: alice"}},
		{Name: "credentials", Header: []string{"Authorization: Basic YWxpY2U6c2VjcmV0"}},
		{Name: "beyond ASCII", Header: []string{"X-Name: caf\xc3\xa9 \xff", "X-Empty:", "X-Tab: a\tb"}},
	}
}

// underscored: names with an underscore are dropped, as gunicorn itself does
// from 22 on and nginx has always done; older ones and uvicorn take them for the
// same as with a dash.
func underscored(k loadgen.Kind) bool { return k.Name == "underscore" }

// environApp is the text of the app that answers with its environ.
func (r *row) environApp() string {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.env.Root, "scripts/e2e/testdata/environ.py"))
	r.must(err)
	return string(text)
}

// startBoth starts the app twice behind a front-end each: alone, and under
// tideover.
func (r *row) startBoth(g testenv.Gunicorn, before frontStarter) (alone, carried *loadgen.Client, daemon *testenv.Tideover) {
	r.Helper()
	text := r.environApp()
	start := func(folder string, serve func(*testenv.App, testenv.Backend)) *loadgen.Client {
		shop, err := r.env.NewApp(folder, testenv.Release{Number: 1})
		r.must(err)
		_, err = r.env.Write(folder+"/environ.py", text)
		r.must(err)
		back := testenv.Backend(r.unusedAddress())
		serve(shop, back)
		direct := &loadgen.Client{Address: string(back), Prefix: folder}
		r.must(waitPlainAnswer(r, direct))
		fronted, err := before(r.env, back)
		r.must(err)
		return &loadgen.Client{Address: fronted.Address, Host: "front.test", Prefix: "w", Timeout: 10 * time.Second}
	}
	alone = start("alone", func(shop *testenv.App, back testenv.Backend) {
		g.Bind = string(back)
		_, err := r.env.Direct(shop, g)
		r.must(err)
	})
	carried = start("carried", func(shop *testenv.App, back testenv.Backend) {
		g.Bind = string(back)
		var err error
		daemon, err = r.env.Tideover(shop, testenv.RunOptions{Command: g.Argv(r.env)})
		r.must(err)
	})
	return alone, carried, daemon
}

// readEnviron is what the app was told, each value as JSON.
func (r *row) readEnviron(c *loadgen.Client, k loadgen.Kind, nonce string) map[string]string {
	r.Helper()
	a := c.DoNamed(r.Context(), k, nonce)
	facts := map[string]json.RawMessage{}
	if err := json.Unmarshal(a.Body, &facts); a.Loss != "" || err != nil {
		r.Errorf("%s: %s %s %v", k.Name, a.Loss, a.Cause, err)
		return nil
	}
	told := map[string]string{}
	for key, value := range facts {
		told[key] = string(value)
	}
	return told
}

func merged(a, b map[string]string) map[string]string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}
