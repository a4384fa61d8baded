package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// short makes a readiness probe that is never answered as it should be end soon.
func short(a *config.App) { a.Ready.Timeout = 3 * time.Second }

// reloadWithAttrs reloads and returns the attributes of a phase as it was reported when it
// ended.
func (r *harness) reloadWithAttrs(phase string) (api.Result, string) {
	var mu sync.Mutex
	var attrs []string
	res := r.s.Do(r.t.Context(), api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}}, func(p api.Phase) {
		mu.Lock()
		defer mu.Unlock()
		if p.Name == phase && p.Result != "" {
			for _, a := range p.Attrs {
				attrs = append(attrs, a.Key+"="+a.Value)
			}
		}
	})
	return res, strings.Join(attrs, " ")
}

// warned reports whether a warning of the status has these words.
func (r *harness) warned(words string) bool {
	return slices.ContainsFunc(r.status().Warnings, func(w string) bool { return strings.Contains(w, words) })
}

func TestAtAReloadA400CountsOnlyIfTheGenerationThatServesGivesItToo(t *testing.T) {
	t.Parallel()
	for program, status := range map[string]int{"rejects Host": 400, "misdirected": 421} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			r, swap := switchable(t, "web", short)
			old := pidOf(t, r.page())
			swap(program)
			res := r.want(r.do(api.Reload), api.ExitKeptOld)
			why := fmt.Sprintf("%d does not count, because ", status)
			serves := strings.Contains(res.Error, why+"generation 1, which serves, answers 200")
			before := strings.Contains(res.Error, why+"the generation before was ready with 200") // it has not answered in time
			if !serves && !before || !strings.Contains(res.Hint, "ready.host") {
				t.Errorf("error %q, hint %q", res.Error, res.Hint)
			}
			if pid := pidOf(t, r.page()); pid != old {
				t.Errorf("pid %d answers, before %d", pid, old)
			}
		})
	}
}

func TestAtAFirstStartA400CountsWithAWarningThatNamesReadyHost(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "rejects Host", short, func(a *config.App) { a.Ready.Explicit, a.Ready.Path = true, "/" })
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	if !r.warned("ready.host") {
		t.Errorf("warnings %q", r.status().Warnings)
	}
	res, attrs := r.reloadWithAttrs("ready")
	if r.want(res, api.ExitOK); attrs != "tries=1 status=400 host=rejected" {
		t.Errorf("phase ready: %s", attrs)
	}
	r.want(r.do(api.Restart), api.ExitOK) // the last one gave the same
	swap("web")
	res, attrs = r.reloadWithAttrs("ready")
	if r.want(res, api.ExitOK); attrs != "tries=1 status=200" || r.warned("ready.host") {
		t.Errorf("phase ready: %s, warnings %q", attrs, r.status().Warnings)
	}
}

func TestAtARestartA400CountsOnlyIfTheLastGenerationGaveIt(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web", short)
	r.page()
	swap("rejects Host")
	res := r.want(r.do(api.Restart), api.ExitDown)
	if !strings.Contains(res.Error, "400 does not count, because the generation before was ready with 200") {
		t.Errorf("error %q", res.Error)
	}
}

func TestReadyHostMakesTheAnswerSayMore(t *testing.T) {
	t.Parallel()
	host := func(a *config.App) { a.Ready.Host = acceptedHost }
	r, swap := switchable(t, "rejects Host", short, host)
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	if len(r.status().Warnings) != 0 {
		t.Errorf("warnings %q", r.status().Warnings)
	}
	swap("broken")
	r.want(r.do(api.Reload), api.ExitKeptOld)
}

func TestAStatusThatTheConfigurationNamesCounts(t *testing.T) {
	t.Parallel()
	named, err := config.ParseStatuses("200,400")
	if err != nil {
		t.Fatal(err)
	}
	r, swap := switchable(t, "web", short, func(a *config.App) { a.Ready.Status = named })
	r.page()
	swap("rejects Host")
	r.want(r.do(api.Reload), api.ExitOK)
}

func TestAGenerationThatIsTooBusyToBeAskedIsJudgedByItsFirstAnswer(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "web", short)
	r.page()
	pid := r.status().Pid
	kill(t, pid, syscall.SIGSTOP) // it answers nothing any more
	swap("rejects Host")
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	kill(t, pid, syscall.SIGCONT)
	if !strings.Contains(res.Error, "no answer that counts") {
		t.Errorf("error %q", res.Error)
	}
	r.page()
}
