//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A client that leaves while the app works is noticed: the app's connection is
// closed within a tenth of a second. It is measured by the app, and beside it an
// app that its clients talk to directly: what the machine itself takes.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	classes := workerClasses()
	for name, way := range map[string]struct {
		gunicorn testenv.Gunicorn
		front    frontStarter
	}{
		"gthread":       {classes["gthread"], nil},
		"uvicorn":       {classes["uvicorn"], nil},
		"nginx-gthread": {classes["gthread"], plainNginx},
		"haproxy-uvicorn": {classes["uvicorn"], func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Extra: "    option abortonclose"})
		}},
	} {
		if way.front != nil && !*full {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			r.installOddApp("shop")
			r.installOddApp("alone")
			way.gunicorn.Workers = 1
			s := newFixture(r, setup{gunicorn: way.gunicorn, front: way.front, release: testenv.Release{Number: 1}})
			already := s.counter("client_left")
			alone := r.startDirect(way.gunicorn)
			here := watchedApp{r, s.app.Log, s.client.Address}
			number := times(12)
			var noticed, direct []time.Duration
			for i := range number {
				noticed = append(noticed, here.timeUntilClosed(i))
				direct = append(direct, alone.timeUntilClosed(i))
			}
			slices.Sort(noticed)
			slices.Sort(direct)
			median, slowest, machine := noticed[number/2], noticed[number-1], direct[number-1]
			r.addNumbers("left=%d median=%.1fms slowest=%.1fms alone_median=%.1fms alone_slowest=%.1fms",
				number, ms(median), ms(slowest), ms(direct[number/2]), ms(machine))
			const promised = 100 * time.Millisecond
			if median > promised+direct[number/2] || slowest > promised+max(3*machine, 500*time.Millisecond) {
				r.Errorf("noticed after %v, and by an app alone after %v", noticed, direct)
			}
			s.waitCounter("client_left", already+number)
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// startDirect starts the same app without anything before it.
func (r *row) startDirect(g testenv.Gunicorn) watchedApp {
	r.Helper()
	shop, err := r.env.NewApp("alone", testenv.Release{Number: 1})
	r.must(err)
	g.Bind = r.unusedAddress()
	_, err = r.env.Direct(shop, g)
	r.must(err)
	r.must(waitAnswer(r, &loadgen.Client{Address: g.Bind, Prefix: "a"}))
	return watchedApp{r, shop.Log, g.Bind}
}

// watchedApp is an app that notes when its client is gone.
type watchedApp struct {
	*row
	log     *testenv.AppLog
	address string
}

// timeUntilClosed sends a request and leaves while the app works on it: at once or after a
// while, with a FIN or with a reset. It returns how long it was until the app's
// connection was closed.
func (w watchedApp) timeUntilClosed(i int) time.Duration {
	w.Helper()
	conn, err := net.Dial("tcp", w.address)
	w.must(err)
	nonce := "watch" + itoa(i)
	request := "GET /watch?nonce=%s HTTP/1.1\r\nHost: front.test\r\n\r\n"
	if i%2 == 1 {
		request = "POST /watch?nonce=%s HTTP/1.1\r\nHost: front.test\r\nContent-Length: 4\r\n\r\nbody"
	}
	_, err = fmt.Fprintf(conn, request, nonce)
	w.must(err)
	w.must(w.log.Wait(w.timeout(20*time.Second), "begin", nonce))
	if i%3 == 0 {
		pause(w.row, 150*time.Millisecond)
	}
	if i%4 < 2 {
		w.must(conn.(*net.TCPConn).SetLinger(0))
	}
	left := time.Now()
	conn.Close()
	var closed time.Time
	w.must(testenv.Poll(w.timeout(30*time.Second), 10*time.Millisecond, func() error {
		text, err := w.log.Text()
		_, line, found := strings.Cut("\n"+text, "\nclosed "+nonce+" ")
		line, _, whole := strings.Cut(line, "\n")
		if !found || !whole {
			return fmt.Errorf("the app has not noticed that the client of %s is gone %v", nonce, err)
		}
		ns, err := strconv.ParseInt(line, 10, 64)
		closed = time.Unix(0, ns)
		return err
	}))
	return closed.Sub(left)
}
