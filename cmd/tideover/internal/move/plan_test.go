package move

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"tideover/supervisor/config"
	"tideover/supervisor/supervisordconf"
)

func TestProgramsAreReplacedByTheAppsThatImportMakesOfThem(t *testing.T) {
	programs := []supervisordconf.Program{
		{Section: "program:shop", App: "shop", Processes: []string{"site:shop"}},
		{Section: "program:celery", App: "celery", Processes: []string{"celery:celery_00", "celery:celery_01"}},
		{Section: "program:idle", App: "idle", Processes: []string{"idle"}},
		{Section: "program:gone", App: "gone", Processes: []string{"gone"}},
	}
	running := []processInfo{{"site:shop", "RUNNING", 10}, {"celery:celery_00", "STARTING", 11}, {"celery:celery_01", "RUNNING", 12},
		{"idle", "STOPPED", 0}, {"gone", "RUNNING", 13}, {"crashmail", "RUNNING", 14}}
	file := &config.File{Apps: []*config.App{{Name: "shop", Instances: 1, After: []string{"celery"}}, {Name: "celery", Instances: 2}, {Name: "idle", Instances: 1}, {Name: "new", Instances: 1}}}
	p := newPlan(programs, running, file, []string{"crashmail"})
	if !slices.Equal(p.unmatched, []string{"gone"}) {
		t.Errorf("unmatched: %v", p.unmatched)
	}
	var got []string
	for _, u := range p.moving() {
		got = append(got, u.cfg.Name+": "+strings.Join(u.names(), " ")+" -> "+strings.Join(u.apps, " "))
	}
	want := []string{"shop: site:shop -> shop", "celery: celery:celery_00 celery:celery_01 -> celery:1 celery:2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if u := p.units[0]; len(u.after) != 1 || u.after[0].cfg.Name != "celery" {
		t.Errorf("shop goes after %v", u.after)
	}
}

func TestAfterAnErrorNoOtherAppBegins(t *testing.T) {
	first, second, third := &unit{cfg: &config.App{Name: "a"}}, &unit{cfg: &config.App{Name: "b"}}, &unit{cfg: &config.App{Name: "c"}}
	second.after, third.after = []*unit{first}, []*unit{second}
	m := &mover{Options: Options{Out: io.Discard, Jobs: 4}}
	var mu sync.Mutex
	var began []string
	err := m.each(t.Context(), []*unit{third, second, first}, func(_ context.Context, u *unit) error {
		mu.Lock()
		defer mu.Unlock()
		began = append(began, u.cfg.Name)
		if u == second {
			return errors.New("broken")
		}
		return nil
	})
	if err == nil || err.Error() != "b: broken" || !slices.Equal(began, []string{"a", "b"}) {
		t.Errorf("%v after %v", err, began)
	}
}
