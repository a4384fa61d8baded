//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/scripts/load"
	"tideover/scripts/rig"
)

// What gunicorn tells the app about a request is what it told it behind the
// same front-end without tideover, but for these.
var differs = map[string]string{
	"REMOTE_PORT":            "the connection to gunicorn is another one",
	"client":                 "its port: the same",
	"SERVER_NAME":            "gunicorn's own socket is a private one",
	"SERVER_PORT":            "the same, where the public one is not on 127.0.0.1",
	"server":                 "the same, in ASGI",
	"HTTP_X_REQUEST_START":   "added where the front-end has not",
	"header x-request-start": "the same, in ASGI",
	"HTTP_CONNECTION":        "belongs to one hop",
	"header connection":      "the same, in ASGI",
	"gunicorn.socket":        "shown by its type alone",
}

func TestEnviron(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]rig.Gunicorn{
		"sync": {App: "environ:app"}, "sync-20": {App: "environ:app", Version: "20.1.0"},
		"gthread": {App: "environ:app", Class: "gthread"}, "uvicorn": {App: "environ:scope", Class: rig.UvicornWorker("").Class},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			g.Workers = 1
			alone, carried := r.environs(g)
			kinds := append(environKinds(), slices.DeleteFunc(wireKinds(), underscored)...)
			for _, k := range kinds {
				k.Plain, k.Method = true, strings.ReplaceAll(k.Method, "HEAD", "GET")
				nonce := alone.Nonce()
				bare, through := r.told(alone, k, nonce), r.told(carried, k, nonce)
				for _, key := range slices.Sorted(maps.Keys(merged(bare, through))) {
					if _, known := differs[key]; !known && bare[key] != through[key] {
						r.Errorf("%s: %s is %s, and was %s without tideover", k.Name, key, through[key], bare[key])
					}
				}
				for _, key := range []string{"REMOTE_ADDR", "wsgi.url_scheme", "scheme"} {
					if _, there := bare[key]; there && through[key] == "" {
						r.Errorf("%s: no %s", k.Name, key)
					}
				}
			}
			r.say("compared=%d", len(kinds))
		})
	}
}

// environKinds are requests with fields that gunicorn gives a meaning.
func environKinds() []load.Kind {
	return []load.Kind{
		{Name: "https in front", Header: []string{"X-Forwarded-Proto: https"}},
		{Name: "a client's own hops", Header: []string{"X-Forwarded-For: 203.0.113.9"}},
		{Name: "query and escapes", Path: "/a%20b/%C3%A9;x=1", Query: "q=%26&q=a+b"},
		{Name: "content type", Body: 10, Header: []string{"Content-Type: text/x-odd; charset=latin1"}},
		{Name: "repeated fields", Header: []string{"X-A: 1", "X-A: 2", "Cookie: a=1; b=2", "Accept: */*"}},
	}
}

// underscored: names with an underscore are dropped, as gunicorn itself does
// from 22 on and nginx has always done; older ones and uvicorn take them for the
// same as with a dash.
func underscored(k load.Kind) bool { return k.Name == "underscore" }

// environs starts the app twice behind a front-end each: alone, and under
// tideover.
func (r *row) environs(g rig.Gunicorn) (alone, carried *load.Client) {
	r.Helper()
	text, err := os.ReadFile(r.room.Root + "/scripts/e2e/testdata/environ.py")
	r.must(err)
	start := func(folder string, serve func(*rig.Shop, rig.Back)) *load.Client {
		shop, err := r.room.Shop(folder, rig.Release{Number: 1})
		r.must(err)
		_, err = r.room.Write(folder+"/environ.py", string(text))
		r.must(err)
		back := rig.Back(r.dead())
		serve(shop, back)
		direct := &load.Client{Address: string(back), Prefix: folder}
		r.must(answeringPlain(r, direct))
		fronted, err := r.room.Apache(back, rig.Apache{Params: "nocanon", More: "AllowEncodedSlashes NoDecode"})
		r.must(err)
		return &load.Client{Address: fronted.Address, Host: "front.test", Prefix: "w", Timeout: 10 * time.Second}
	}
	alone = start("alone", func(shop *rig.Shop, back rig.Back) {
		g.Bind = string(back)
		_, err := r.room.Bare(shop, g)
		r.must(err)
	})
	carried = start("carried", func(shop *rig.Shop, back rig.Back) {
		g.Bind = string(back)
		_, err := r.room.Tideover(shop, rig.RunOptions{Command: g.Argv(r.room)})
		r.must(err)
	})
	return alone, carried
}

// told is what the app was told, each value as JSON.
func (r *row) told(c *load.Client, k load.Kind, nonce string) map[string]string {
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
