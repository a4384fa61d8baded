//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tideover/scripts/httpgen"
	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A thousand are held, which is as many as may be; the next are refused at
// once. When the gate opens, all are answered by two workers, the oldest first,
// and before all requests that arrive later.
func TestThousandHeld(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setup{
		"sync":         {gunicorn: testenv.Gunicorn{Workers: 2}},
		"gthread":      {gunicorn: testenv.Gunicorn{Workers: 2, Class: "gthread"}},
		"nginx-sync":   {gunicorn: testenv.Gunicorn{Workers: 2}, front: plainNginx},
		"apache-async": {gunicorn: asyncWorkers(), front: apache(testenv.Apache{})},
	} {
		if o.front != nil && !*full {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			held := 1000
			if !*full && name != "sync" {
				held = 200
			}
			o.release = testenv.Release{Number: 1}
			o.flags = flags("--hold-limit", itoa(held), "--hold-timeout", "280s")
			s := newFixture(r, o)
			s.client.Timeout = 5 * time.Minute
			s.holdMany(held, o.gunicorn.Class == "")
		})
	}
}

func asyncWorkers() testenv.Gunicorn {
	g := testenv.UvicornWorker("")
	g.Workers = 2
	return g
}

func (s *fixture) holdMany(held int, sync bool) {
	s.Helper()
	before := s.memory(s.daemon.RelayPid())
	s.hold(5 * time.Minute)
	q := newQueue(s)
	q.enqueue(held, mixedKind)
	after := s.memory(s.daemon.RelayPid())
	const beyond, newcomers = 50, 20
	late := &loadgen.Client{Address: s.client.Address, Host: s.client.Host, Prefix: "late"}
	for _, a := range sendAll(map[string]*loadgen.Client{"": late}, make([]loadgen.Kind, beyond))[""] {
		s.checkRefused("beyond the limit", a)
		if a.Waited > shortTimeout {
			s.Errorf("refused after %v", a.Waited)
		}
	}
	if n := q.held(); n != held {
		s.Errorf("%d held, want %d", n, held)
	}
	begun := time.Now()
	s.release()
	s.must(testenv.Poll(s.timeout(time.Minute), time.Millisecond, func() error { // until there is room for some, behind all others
		if n := q.held(); n > held-newcomers {
			return fmt.Errorf("%d of %d are still held", n, held)
		}
		return nil
	}))
	for range newcomers {
		q.send(loadgen.Kind{Name: "newcomer"})
	}
	q.wait()
	took := time.Since(begun)
	q.checkAnswers(0, held+newcomers)
	s.checkNothingTwice(s.app)
	places := q.beginOrder()
	counts := overtaken(places)
	most, nearly := counts[len(counts)-1], counts[len(counts)*9/10]
	s.addNumbers("held=%d refused=%d answered=%d lost=0 overtaken=%d nine_of_ten=%d released_in=%.2fs memory=%dKiB per_held=%.1fKiB",
		held, s.counter("overflowed"), held+newcomers, most, nearly, took.Seconds(), after-before, float64(after-before)/float64(held))
	if n := s.counter("overflowed"); n != beyond {
		s.Errorf("overflowed=%d, want %d", n, beyond)
	}
	// A sync worker takes the oldest connection there is; others take many and have an order of their own.
	// What is released at the same moment may be connected in any order: where a thread of the relay or a worker waits
	// for a processor, the few requests that it has are overtaken by what the others begin meanwhile. In random
	// order nearly half of all would overtake nine of ten.
	if sync && nearly > held/4 {
		s.Errorf("nine of ten requests were overtaken by up to %d younger ones, one by %d", nearly, most)
	}
	if each := float64(after-before) / float64(held); each > 64 {
		s.Errorf("each held request takes %.0f KiB", each)
	}
}

// mixedKind is what comes while the gate is shut.
func mixedKind(i int) loadgen.Kind {
	switch {
	case i%50 == 7:
		return loadgen.Kind{Name: "post 100k", Body: 100 << 10}
	case i%4 == 1:
		return loadgen.Kind{Name: "post", Body: 300}
	case i%4 == 3:
		return loadgen.Kind{Name: "post chunked", Body: 5000, Chunked: true}
	}
	return loadgen.Kind{Name: "get"}
}

// Exactly the requests that have been held for hold.timeout get a 503, the oldest
// first. Those that arrived later are still held, and answered.
func TestHoldExpires(t *testing.T) {
	each, limit := 40, 12*time.Second
	if *full {
		each, limit = 400, time.Minute
	}
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}, gunicorn: testenv.Gunicorn{Workers: 2}, flags: flags("--hold-timeout", limit.String())})
	s.client.Timeout = 5 * time.Minute
	already := s.counter("expired") // of the questions while it started
	s.hold(4 * time.Minute)
	q := newQueue(s)
	q.enqueue(each, mixedKind)
	pause(r, 5*time.Second)
	q.enqueue(each, mixedKind)
	s.must(testenv.Poll(s.timeout(limit), 5*time.Millisecond, func() error {
		if n := q.held(); n != each {
			return fmt.Errorf("%d held, not %d", n, each)
		}
		return nil
	}))
	s.release()
	q.wait()
	q.checkAnswers(each, 2*each)
	slowest, disorder := time.Duration(0), time.Duration(0)
	for i, a := range q.answers[:each] {
		s.checkRefused("held for too long", a)
		if a.Waited < limit {
			s.Errorf("request %d expired after %v", i, a.Waited)
		}
		slowest = max(slowest, a.Waited-limit)
		if i > 0 {
			disorder = max(disorder, q.ended[i-1].Sub(q.ended[i]))
		}
	}
	expired := s.counter("expired") - already
	s.addNumbers("held=%d expired=%d answered=%d latest=%.3fs out_of_order=%.3fs", 2*each, expired, each, slowest.Seconds(), disorder.Seconds())
	if expired != each {
		s.Errorf("expired=%d, want %d", expired, each)
	}
	for i, place := range q.beginOrder() {
		if reached := place >= 0; reached != (i >= each) {
			s.Errorf("request %d reached the app: %v", i, reached)
		}
	}
	if slowest > 2*time.Second || disorder > time.Second {
		s.Errorf("the last expired %v after its time, and one %v before an older one", slowest, disorder)
	}
}

// What is kept of held requests is bounded in bytes: as many as fit are held,
// the next is refused at once, and what is released makes room again.
func TestHoldBuffer(t *testing.T) {
	const size, fit, beyond = 1 << 10, 64, 36
	r := begin(t)
	s := newFixture(r, setup{
		release: testenv.Release{Number: 1}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "[app.shop.hold]\nbuffer = \"4KiB\"\nbuffer_total = \"64KiB\"\n",
	})
	rounds := times(2)
	for round := range rounds {
		s.hold(time.Minute)
		replies := make(chan loadgen.Reply, fit+beyond)
		refused := 0
		for i := range fit + beyond {
			go func() {
				replies <- (&loadgen.RawClient{Address: string(s.back)}).Send(sizedRequest(fmt.Sprintf("b%d-%d", round, i), i, size))
			}()
		}
		for range beyond {
			reply := <-replies
			if reply.Status != 503 || reply.Header.Get("Retry-After") == "" {
				s.Errorf("beyond the bound: %d %v", reply.Status, reply.Err)
			}
			refused++
		}
		s.must(s.checkHeld(fit))
		s.release()
		for range fit {
			if reply := <-replies; reply.Status != 200 || reply.Err != nil {
				s.Errorf("within the bound: %d %v", reply.Status, reply.Err)
			}
		}
	}
	s.checkNothingTwice(s.app)
	s.addNumbers("requests=%d held=%d refused=%d bytes_each=%d", rounds*(fit+beyond), rounds*fit, s.counter("overflowed"), size)
	if n := s.counter("overflowed"); n != rounds*beyond {
		s.Errorf("overflowed=%d, want %d", n, rounds*beyond)
	}
}

// sizedRequest is a request that is exactly so long as it comes over the wire: a GET,
// or a POST with its body behind its head.
func sizedRequest(nonce string, i, size int) httpgen.Request {
	method, body := "GET", ""
	if i%2 == 1 {
		method, body = "POST", strings.Repeat("x", 200)
	}
	head := fmt.Sprintf("%s /echo?nonce=%s HTTP/1.1\r\nHost: front.test\r\nConnection: close\r\nContent-Length: %d\r\nX-Fill: \r\n\r\n", method, nonce, len(body))
	fill := strings.Repeat("f", size-len(head)-len(body))
	return httpgen.Request{Method: method, Head: []byte(strings.Replace(head, "X-Fill: ", "X-Fill: "+fill, 1) + body)}
}
