//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/scripts/httpgen"
	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// No legal request of real shape is refused: what the app answers behind a
// front-end without tideover, it answers with tideover, and it sees the same
// request. At full size 100,000 of them, in every shape of httpgen.
func TestLegalRequests(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"direct", "apache", "nginx", "haproxy", "caddy", "raised", "gunicorn"} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			way := legalWays()[name]
			s, alone := r.startRawTwice(way)
			source := way.source
			source.Seed, source.Host = 20261122, "front.test"
			without, with := r.startWire(alone, way.front), r.startWire(s.back, way.front)
			number := way.number
			if *full {
				number *= 70
			}
			v := r.compareAll(number, source, without, with)
			s.checkCounters(v)
			r.addNumbers("requests=%d answered=%d refused_by_front=%d refused_by_us=%d", number, v.answered, v.byFront, v.byUs)
			if v.answered < number*9/10 {
				r.Errorf("%d of %d answered: this tries the front-end and not tideover\n%v", v.answered, number, v.refusals)
			}
		})
	}
}

// legalWay is one way to tideover.
type legalWay struct {
	number   int // of requests; at full size 70 times as many
	front    frontStarter
	source   httpgen.Source
	limits   string // the app's, in its configuration
	gunicorn bool   // instead of the raw server
}

// legalWays: each front-end with what it lets through as it came, and as much
// of everything as it takes itself or we take by default. Once our limits are
// raised, as for an app with very long cookies, and once the app is a real
// gunicorn, which refuses a little itself.
func legalWays() map[string]legalWay {
	usual := httpgen.Source{Line: 8190, Head: 30 << 10, Fields: 94, Body: 100 << 10}
	wire, narrow, wide := usual, usual, usual
	wire.Wire = true
	narrow.Head = 14 << 10 // its buffer of 16 KiB, less what it reserves
	wide.Line, wide.Head, wide.Fields = 60<<10, 200<<10, 400
	return map[string]legalWay{
		"direct": {number: 300, front: nil, source: wire},
		"apache": {number: 300, front: apache(testenv.Apache{Params: "nocanon", Extra: "AllowEncodedSlashes NoDecode"}), source: usual},
		"nginx":  {number: 300, front: plainNginx, source: usual},
		"haproxy": {number: 300, source: narrow, front: func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Extra: "    option forwardfor"})
		}},
		"caddy": {number: 300, front: plainCaddy, source: usual},
		"raised": {number: 80, front: plainCaddy, source: wide,
			limits: "[app.shop.limits]\nhead = \"256KiB\"\ntarget = \"64KiB\"\nfields = 500\n"},
		"gunicorn": {number: 80, source: usual, gunicorn: true},
	}
}

func plainNginx(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
	return r.Nginx(b, testenv.ProxyConfig{})
}
func plainCaddy(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
	return r.Caddy(b, testenv.ProxyConfig{})
}

// startRawTwice starts the raw server under tideover and alone.
func (r *row) startRawTwice(way legalWay) (s *fixture, alone testenv.Backend) {
	r.Helper()
	s, alone = &fixture{row: r}, testenv.Backend(r.unusedAddress())
	var err error
	s.app, err = r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	s.back = s.backAddress(false)
	g := testenv.Gunicorn{Class: "gthread", Workers: 2, App: "odd:seen"}
	command := g.Argv(r.env)
	if way.gunicorn {
		r.installOddApp("shop")
		g.Bind = string(alone)
		_, err = r.env.Direct(s.app, g)
		r.must(err)
	} else {
		command = rawCommand(r.env, "fd", "{fd}")
		r.startRaw(alone)
	}
	name := "shop-" + strings.ToLower(strings.ReplaceAll(r.name, "/", "-"))
	path, err := r.env.Write("tideover.toml", fmt.Sprintf("[app.%s]\ncommand = %s\nlisten = %q\ndirectory = %q\n%s", name,
		tomlArray(command), s.back, s.app.Dir, strings.ReplaceAll(way.limits, "[app.shop.", "[app."+name+".")))
	r.must(err)
	s.daemon, err = r.env.Tideover(s.app, testenv.RunOptions{Flags: []string{"-c", path}, Name: name})
	r.must(err)
	return s, alone
}

// installOddApp puts the app with more paths into a shop's folder.
func (r *row) installOddApp(folder string) {
	r.Helper()
	text, err := os.ReadFile(r.env.Root + "/scripts/e2e/testdata/odd.py")
	r.must(err)
	_, err = r.env.Write(folder+"/odd.py", string(text))
	r.must(err)
}

// startWire starts the front-end before back, or none, waits for an answer and
// returns the address.
func (r *row) startWire(back testenv.Backend, start frontStarter) string {
	r.Helper()
	r.must(waitPlainAnswer(r, &loadgen.Client{Address: string(back), Prefix: "r"}))
	if start == nil {
		return string(back)
	}
	fronted, err := start(r.env, back)
	r.must(err)
	r.must(waitPlainAnswer(r, &loadgen.Client{Address: fronted.Address, Host: "front.test", Prefix: "r"}))
	return fronted.Address
}

// comparison are what became of many legal requests.
type comparison struct {
	mu                      sync.Mutex
	answered, byFront, byUs int
	refusals                map[string]int // by the front-end: by shape and status
}

// compareAll sends every request both ways and compares the results.
func (r *row) compareAll(number int, source httpgen.Source, without, with string) *comparison {
	v := &comparison{refusals: map[string]int{}}
	var senders sync.WaitGroup
	const clients = 6
	for first := range clients {
		senders.Go(func() {
			a, b := &loadgen.RawClient{Address: without}, &loadgen.RawClient{Address: with}
			defer a.Close()
			defer b.Close()
			for i := first; i < number; i += clients {
				request := source.Request(i)
				v.compare(r, i, request, a.Send(request), b.Send(request))
			}
		})
	}
	senders.Wait()
	return v
}

// compare holds what came of a request without tideover against what came with it.
func (v *comparison) compare(r *row, number int, request httpgen.Request, without, with loadgen.Reply) {
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := fmt.Sprintf("%s %d %x ", request.Method, len(request.Content), request.Digest())
	switch alone, saw := without.Header.Get("Saw"), with.Header.Get("Saw"); {
	case without.Err != nil || alone == "" && without.Status == 200:
		r.Errorf("request %d, %s, without tideover: %v\n%.500q", number, request.Shape, without.Err, request.Head)
	case alone == "":
		v.byFront++
		v.refusals[fmt.Sprintf("%s: %d", request.Shape, without.Status)]++
	case saw == "":
		v.byUs++
		r.Errorf("request %d, %s, is refused: %d %v %.200q\n%.500q", number, request.Shape, with.Status, with.Err, with.Body, request.Head)
	case !strings.HasPrefix(saw, seen):
		r.Errorf("request %d, %s: the app saw %q, want %q", number, request.Shape, saw, seen)
	case saw != alone:
		r.Errorf("request %d, %s: the app saw\n%.1500q\nand without tideover\n%.1500q", number, request.Shape, with.Body, without.Body)
	default:
		v.answered++
	}
}

// checkCounters: every request that the app answered was counted as one, and none as
// refused.
func (s *fixture) checkCounters(v *comparison) {
	s.Helper()
	for _, name := range []string{"bad_request", "bad_gateway", "overflowed", "expired", "cut", "client_left"} {
		if n := s.counter(name); n > 0 {
			s.Errorf("%s=%d", name, n)
		}
	}
	s.must(testenv.Poll(s.timeout(10*time.Second), 20*time.Millisecond, func() error {
		if n := s.counter("answered"); n < v.answered {
			return fmt.Errorf("answered=%d of %d", n, v.answered)
		}
		return nil
	}))
	var shapes []string
	for shape, n := range v.refusals {
		shapes = append(shapes, fmt.Sprintf("%s (%d)", shape, n))
	}
	slices.Sort(shapes)
	s.Logf("refused by the front-end: %s", strings.Join(shapes, ", "))
}
