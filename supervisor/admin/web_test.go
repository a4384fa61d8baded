package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/admin/page"
	"tideover/supervisor/api"
)

// supervisor is a fake.
type supervisor struct {
	status api.Status
	err    error
	hangs  chan struct{} // nil: it answers
	asked  atomic.Int64
}

func (s *supervisor) Status(context.Context, ...string) (api.Status, error) {
	s.asked.Add(1)
	if s.hangs != nil {
		<-s.hangs
	}
	return s.status, s.err
}

func (s *supervisor) Metrics(context.Context) ([]byte, error) {
	s.asked.Add(1)
	if s.hangs != nil {
		<-s.hangs
	}
	return []byte("tideover_up 1\n"), s.err
}

func ask(s *source, method, path string) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	s.handler(page.New(page.Options{})).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestReadySaysWhetherRequestsArePassed(t *testing.T) {
	app := func(state api.State, generation int, holds ...string) api.AppStatus {
		return api.AppStatus{Name: "shop", State: state, Generation: generation, Holds: holds}
	}
	for want, apps := range map[int][]api.AppStatus{
		200: {app(api.Running, 1), app(api.Reloading, 4)},
		503: {app(api.Reloading, 0), app(api.Starting, 0), app(api.Stopped, 0), app(api.Failed, 0), app(api.Backoff, 0),
			app(api.Holding, 2, "operator"), app(api.Running, 2, "operator"), app(api.Stopping, 2)},
	} {
		for _, a := range apps {
			s := newSource(&supervisor{status: api.Status{Apps: []api.AppStatus{{Name: "blog", State: api.Running, Generation: 1}, a}}})
			for path, status := range map[string]int{"/-/ready": want, "/-/ready/shop": want, "/-/ready/blog": 200, "/-/live": 200} {
				if got, text := ask(s, "GET", path); got != status {
					t.Errorf("%+v: %s is %d %q, want %d", a, path, got, text, status)
				}
			}
		}
	}
	down := newSource(&supervisor{status: api.Status{ShuttingDown: true, Apps: []api.AppStatus{app(api.Running, 1)}}})
	for path, want := range map[string]int{"/-/ready": 503, "/-/ready/shop": 503, "/-/live": 200} {
		if got, text := ask(down, "GET", path); got != want {
			t.Errorf("%s at the end is %d %q", path, got, text)
		}
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	s := newSource(&supervisor{status: api.Status{Apps: []api.AppStatus{{Name: "shop", State: api.Running, Generation: 1}}}})
	for request, want := range map[string]int{
		"GET /": 200, "GET /other": 404, "POST /": 405, "GET /-/ready/none": 404, "GET /-/ready/shop/x": 404, "GET /v1/status": 404, "POST /-/live": 405, "DELETE /-/ready/shop": 405,
		"HEAD /-/live": 200, "GET /-/ready/%00": 404, "GET /-/ready/": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got, _ := ask(s, method, path); got != want {
			t.Errorf("%s is %d, want %d", request, got, want)
		}
	}
}

func TestASupervisorThatHangsIsSaidInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &supervisor{hangs: make(chan struct{})}
		s := newSource(fake)
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				began := time.Now()
				if got, _ := ask(s, "GET", "/-/live"); got != http.StatusServiceUnavailable || time.Since(began) != answerTimeout {
					t.Errorf("%d after %v", got, time.Since(began))
				}
			})
		}
		clients.Wait()
		if n := fake.asked.Load(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
		close(fake.hangs)
		synctest.Wait()
		if got, _ := ask(s, "GET", "/-/live"); got != 200 {
			t.Errorf("%d when it answers again", got)
		}
	})
}

func TestManyRequestsAskTheSupervisorOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &supervisor{}
		s := newSource(fake)
		for range 1000 {
			ask(s, "GET", "/-/ready")
		}
		if n := fake.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(freshFor)
		ask(s, "GET", "/-/ready")
		if n := fake.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestABrokenConnectionEndsTheProcess(t *testing.T) {
	s := newSource(&supervisor{err: errors.New("broken")})
	if got, _ := ask(s, "GET", "/-/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("%d", got)
	}
	select {
	case <-s.failed:
	default:
		t.Error("the process goes on")
	}
}
