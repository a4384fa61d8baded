package supervisor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// backlog sends POSTs to an app whose only worker is at work: they wait in the private socket.
type backlog struct {
	busy    *slow
	answers chan string
	n       int
}

func (r *harness) backlog(n int) *backlog { return r.backlogBehind(r.slow(), n) }

func (r *harness) backlogBehind(busy *slow, n int) *backlog {
	r.t.Helper()
	b := &backlog{busy: busy, answers: make(chan string, n), n: n}
	for i := range n {
		go func() {
			nonce := fmt.Sprint("post ", i, ".")
			resp, err := r.http.Post("http://"+r.address+"/?nonce="+fmt.Sprint("post+", i, "."), "text/plain", strings.NewReader("a body"))
			if err != nil {
				b.answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if !strings.Contains(string(body), nonce) {
				body = fmt.Append(nil, resp.Status, " ", string(body))
			}
			b.answers <- string(body)
		}()
	}
	r.until("the backlog is there", func(s api.AppStatus) bool { return s.InFlight == n+1 })
	return b
}

// answeredBy demands that one generation answers every POST.
func (b *backlog) answeredBy(r *harness, generation int) {
	r.t.Helper()
	for range b.n {
		if body := <-b.answers; !strings.HasPrefix(body, "pid=") || !strings.Contains(body, fmt.Sprint(" generation=", generation, " ")) {
			r.t.Errorf("answered %q, want generation %d", body, generation)
		}
	}
}

func (r *harness) reload(wait bool) api.Result {
	return r.s.Do(context.Background(), api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}, WaitDrain: wait}, func(api.Phase) {})
}

func TestReloadGivesWhatNoWorkerHasAcceptedToTheNewGeneration(t *testing.T) {
	t.Parallel()
	r := open(t, "sequential")
	b := r.backlog(20)
	res := r.want(r.do(api.Reload), api.ExitOK)
	b.answeredBy(r, 2) // the worker of generation 1 is still at work
	if res.Drain == nil || res.Drain.Result != "running" || res.Drain.InFlight != 21 {
		t.Errorf("drain %+v", res.Drain)
	}
	if st := r.status(); len(st.Draining) != 1 || st.Draining[0].Generation != 1 || st.State != api.Running {
		t.Errorf("status %+v", st)
	}
	if body := b.busy.finish(); !strings.HasPrefix(body, "slow pid=") {
		t.Error(body)
	}
	st := r.until("drained", func(s api.AppStatus) bool { return s.LastReload.Drain.Result == "ok" })
	if d, last := st.LastReload.Drain, st.LastReload; d.Reclaimed != 20 || d.Cut != 0 || last.Requests.Lost != 0 ||
		!slices.Equal(phases(*last), []string{"start", "ready", "swap", "drain", "done"}) {
		t.Errorf("last reload %+v, drain %+v", last, d)
	}
}

func TestRestartHoldsWhatNoWorkerHasAccepted(t *testing.T) {
	t.Parallel()
	r := open(t, "sequential")
	b := r.backlog(20)
	restarted := make(chan api.Result, 1)
	go func() { restarted <- r.do(api.Restart) }()
	r.until("held", func(s api.AppStatus) bool { return s.Held == 20 })
	b.busy.finish()
	if res := r.want(<-restarted, api.ExitOK); res.Requests.Held != 20 || res.Requests.Lost != 0 {
		t.Errorf("requests %+v", res.Requests)
	}
	b.answeredBy(r, 2)
}

// No generation follows a stop: the workers answer what waits for them, as long as the drain lasts.
func TestStopLetsTheWorkersFinishTheBacklog(t *testing.T) {
	t.Parallel()
	r := open(t, "sequential")
	b := r.backlog(5)
	stopped := make(chan api.Result, 1)
	go func() { stopped <- r.do(api.Stop) }()
	r.until("stopping", func(s api.AppStatus) bool { return s.State == api.Stopping })
	b.busy.finish()
	b.answeredBy(r, 1)
	r.want(<-stopped, api.ExitOK)
}

// A worker that calls accept(2) without poll(2) does not expect EAGAIN: what waits for it is
// reclaimed when it is gone, and begins its hold then.
func TestReloadOfAWorkerThatBlocksInAcceptLosesNoRequest(t *testing.T) {
	t.Parallel()
	r := open(t, "blocking accept", func(a *config.App) {
		a.Drain.Timeout, a.Stop.Timeout, a.Hold.Timeout = 300*time.Millisecond, 100*time.Millisecond, 400*time.Millisecond
	})
	b := r.backlogBehind(r.slowRequest(http.MethodPost), 5)
	r.want(r.do(api.Reload), api.ExitOK)
	b.answeredBy(r, 2)
	if body := b.busy.finish(); body != "502 Bad Gateway" {
		t.Errorf("the request in the worker that was killed: %q", body)
	}
}

func TestReloadReturnsAtTheSwapAndWaitDrainAtTheEndOfTheDrain(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	busy := r.slow()
	waited := make(chan api.Result, 1)
	var names []string
	go func() {
		request := api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}, WaitDrain: true}
		waited <- r.s.Do(context.Background(), request, func(p api.Phase) { names = append(names, p.Name+" "+p.Result) })
	}()
	r.until("swapped", func(s api.AppStatus) bool { return s.Generation == 2 && s.State == api.Running && len(s.Draining) == 1 })
	if res := r.want(r.do(api.Reload), api.ExitOK); res.Generation.To != 3 { // it does not queue behind the drain
		t.Errorf("result %+v", res)
	}
	select {
	case res := <-waited:
		t.Errorf("the drain has not ended: %+v", res)
	default:
	}
	busy.finish()
	res := r.want(<-waited, api.ExitOK)
	if !slices.Equal(phases(res), []string{"start", "ready", "swap", "drain", "done"}) || res.Drain.InFlight != 1 || res.Drain.Cut != 0 {
		t.Errorf("result %+v, drain %+v", res, res.Drain)
	}
	want := []string{"start ", "start ok", "ready ", "ready ok", "swap ", "swap ok", "drain ", "drain ok", "done ok"}
	if !slices.Equal(names, want) {
		t.Errorf("phases %q, want %q", names, want)
	}
}

func TestWaitDrainFailsWhenARequestWasLost(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Drain.Timeout, a.Stop.Timeout = 50*time.Millisecond, 50*time.Millisecond })
	busy := r.slowRequest(http.MethodPost)
	defer busy.finish()
	res := r.want(r.reload(true), api.ExitError)
	if res.Requests.Lost != 1 || res.Drain.Cut != 1 || res.Error != "generation 2 serves, and 1 request was lost" {
		t.Errorf("result %+v, drain %+v", res, res.Drain)
	}
	st := r.status()
	if last := st.LastReload; last.Requests.Lost != 1 || last.Drain.Cut != 1 || last.Exit != api.ExitOK {
		t.Errorf("last reload %+v", last)
	}
}

// Two replaced generations may drain; a third reload waits until the oldest is gone.
func TestAtMostTwoGenerationsDrain(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	var all []*slow
	for range 2 {
		all = append(all, r.slow())
		r.want(r.do(api.Reload), api.ExitOK)
	}
	begun, third := make(chan struct{}), make(chan api.Result, 1)
	go func() {
		third <- r.s.Do(context.Background(), api.Request{Verb: api.Reload}, func(p api.Phase) {
			if p.Name == "drain" && p.Result == "" {
				close(begun)
			}
		})
	}()
	<-begun
	if st := r.status(); len(st.Draining) != 2 || st.Generation != 3 {
		t.Errorf("status %+v", st)
	}
	all[0].finish()
	if res := r.want(<-third, api.ExitOK); !slices.Equal(phases(res), []string{"drain", "start", "ready", "swap", "done"}) {
		t.Errorf("phases %q", phases(res))
	}
	all[1].finish()
}

// A restart stops every generation first. It holds no request while one of a former reload drains.
func TestRestartWaitsForFormerDrainsBeforeItHolds(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	busy := r.slow()
	r.want(r.do(api.Reload), api.ExitOK)
	begun, restarted := make(chan struct{}), make(chan api.Result, 1)
	go func() {
		restarted <- r.s.Do(context.Background(), api.Request{Verb: api.Restart}, func(p api.Phase) {
			if p.Name == "drain" && p.Result == "" && p.To == 2 {
				select {
				case <-begun:
				default:
					close(begun)
				}
			}
		})
	}()
	<-begun
	if body := r.page(); !strings.Contains(body, "generation=2 ") {
		t.Errorf("answered %q", body)
	}
	busy.finish()
	r.want(<-restarted, api.ExitOK)
}

// A hook that outlasts the drain does not keep the callers of that drain waiting for ever.
func TestTheDrainMayEndBeforeAfterReload(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := open(t, "web", func(a *config.App) {
		a.Hooks.AfterReload = shell(notes.note("hook") + "; while [ -e " + string(notes) + ".busy ]; do sleep 0.01; done")
	})
	createFile(t, string(notes)+".busy")
	r.page()
	done := make(chan api.Result, 1)
	go func() { done <- r.reload(true) }()
	notes.until(r, "hook")
	r.until("gone", func(s api.AppStatus) bool { return len(s.Draining) == 0 })
	if err := os.Remove(string(notes) + ".busy"); err != nil {
		t.Fatal(err)
	}
	res := r.want(<-done, api.ExitOK)
	if !slices.Equal(phases(res), []string{"start", "ready", "swap", "hook", "drain", "done"}) || res.Drain.Result != "ok" {
		t.Errorf("result %+v, drain %+v", res, res.Drain)
	}
}
