//go:build e2e

package e2e

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The head that reaches the app through a front-end and tideover is, byte for
// byte and in the same order, the head that reaches it through the front-end
// alone, but for a documented list.
func TestForwardedHeadsAreUnchanged(t *testing.T) {
	t.Parallel()
	fronts := map[string]frontStarter{
		"apache": apache(testenv.Apache{Params: "nocanon", Extra: "AllowEncodedSlashes NoDecode"}),
		"nginx": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{})
		},
		"haproxy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Extra: "    option forwardfor"})
		},
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{})
		},
	}
	for name, start := range fronts {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			alone := r.rawServer()
			s := newWire(r, rawCommand(r.env, "fd", "{fd}"))
			host := "127.0.0.1:1" // any: the same through both
			compared := 0
			without, err := start(r.env, alone)
			r.must(err)
			with, err := start(r.env, s.back)
			r.must(err)
			a := &loadgen.Client{Address: without.Address, Host: host, Prefix: "w"}
			b := &loadgen.Client{Address: with.Address, Host: host, Prefix: "w"}
			for _, k := range wireKinds() {
				nonce := a.Nonce()
				bare, carried := r.forwardedHead(a, k, nonce, alone), r.forwardedHead(b, k, nonce, s.back)
				if !slices.Equal(bare, carried) {
					r.Errorf("%s\nwithout: %q\nwith:    %q", k.Name, bare, carried)
				}
				compared++
			}
			r.addNumbers("compared=%d", compared)
		})
	}
}

// wireKinds are requests in which a proxy likes to tidy up.
func wireKinds() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "1.1, closing", Plain: true},
		{Name: "1.1, kept", Plain: true, Keep: true},
		{Name: "1.0", Plain: true, HTTP10: true},
		{Name: "1.0, kept", Plain: true, HTTP10: true, Keep: true},
		{Name: "HEAD", Method: "HEAD", Plain: true},
		{Name: "OPTIONS", Method: "OPTIONS", Plain: true},
		{Name: "repeated X-Forwarded-For", Plain: true, Header: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"}},
		{Name: "encoded slash", Plain: true, Path: "/a%2Fb/%C3%A4//c;p=1"},
		{Name: "underscore", Plain: true, Header: []string{"X_Under: 1", "X-Under: 2"}},
		{Name: "odd case and repeats", Plain: true, Header: []string{"x-lower: a", "X-UPPER: B", "Cookie: a=1; b=2", "X-List: 1", "X-List: 2"}},
		{Name: "post", Plain: true, Body: 300},
	}
}

// rawServer starts the server that tells what it saw, without anything in
// front, and waits for an answer.
func (r *row) rawServer() testenv.Backend {
	r.Helper()
	address := r.unusedAddress()
	r.startRaw(testenv.Backend(address))
	r.must(waitPlainAnswer(r, &loadgen.Client{Address: address, Prefix: "r"}))
	return testenv.Backend(address)
}

func (r *row) startRaw(address testenv.Backend) {
	r.Helper()
	_, port, _ := strings.Cut(string(address), ":")
	_, err := r.env.Start(testenv.Command{Name: "raw", Argv: rawCommand(r.env, "port", port)})
	r.must(err)
}

func rawCommand(env *testenv.Env, arguments ...string) []string {
	return append([]string{"python3", env.Root + "/scripts/e2e/testdata/raw.py"}, arguments...)
}

// newWire returns a fixture with a raw server under tideover.
func newWire(r *row, command []string) *fixture {
	r.Helper()
	s := &fixture{row: r}
	var err error
	s.app, err = r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	s.back = s.backAddress(false)
	s.start(setup{command: command}, string(s.back))
	s.client = &loadgen.Client{Address: string(s.back), Prefix: "n"}
	r.must(waitPlainAnswer(r, s.client))
	return s
}

// forwardedHead is what the app saw of a request, without the documented differences:
// the version that each hop speaks for itself, the fields that belong to one
// hop, the time stamp that we add, and fields with an underscore, which could be
// taken for others. The length is written by us, so its place may differ.
func (r *row) forwardedHead(c *loadgen.Client, k loadgen.Kind, nonce string, back testenv.Backend) []string {
	r.Helper()
	a := c.DoNamed(r.Context(), k, nonce)
	head, err := base64.StdEncoding.DecodeString(a.Header.Get("X-Seen"))
	if a.Loss != "" || err != nil || len(head) == 0 {
		r.Errorf("%s: %s %s %v", k.Name, a.Loss, a.Cause, err)
		return nil
	}
	head = []byte(strings.ReplaceAll(string(head), string(back), "BACK"))
	lines := strings.Split(string(head), "\r\n")
	lines[0], _, _ = strings.Cut(lines[0], " HTTP/")
	var length []string
	kept := slices.DeleteFunc(lines, func(line string) bool {
		name, value, _ := strings.Cut(strings.ToLower(line), ":")
		if name == "content-length" {
			length = append(length, "length"+value)
		}
		return slices.Contains([]string{"connection", "keep-alive", "x-request-start", "content-length", "x_under"}, name)
	})
	return append(kept, length...)
}
