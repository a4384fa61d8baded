package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/load"
	"tideover/scripts/testenv"
)

const (
	rate        = 100 // requests a second
	importTakes = 3   // seconds
	slots       = 150 // of Apache, as Debian has them: threads for requests, also held ones
	host        = "front.test"
)

// house is one app that somebody supervises, with an Apache before it and a
// load on that.
type house struct {
	shop  *testenv.App
	front *testenv.FrontEnd
	load  *load.Load
}

// stage is everything that runs while the demo does.
type stage struct {
	room        *testenv.Env
	ours        house
	daemon      *testenv.Tideover
	theirs      house // the same without tideover, to compare
	supervisord *testenv.Supervisord
	playing     *house // the one that is shown
}

// newStage starts both apps side by side, and returns when both answer. What
// it had started until a fault is in the stage it returns beside it.
func newStage(ctx context.Context, s screen) (*stage, error) {
	room, err := testenv.New("demo")
	st := &stage{room: room}
	if err != nil {
		return st, err
	}
	if err := testenv.Build(ctx, room.Root); err != nil {
		return st, err
	}
	ourAddress, err := st.startOurs()
	if err != nil {
		return st, err
	}
	theirAddress, err := st.startTheirs()
	if err != nil {
		return st, err
	}
	fact := func(what, how string, args ...any) { s.say("  %-7s %s\n", what, fmt.Sprintf(how, args...)) }
	fact("app", "gunicorn -w 4 shop:app, which takes %d s to import", importTakes)
	fact("front", "%s (event), ProxyPass / http://%s/", apacheVersion(ctx), ourAddress)
	fact("load", "%d requests a second, GET and POST; every answer is checked", rate)
	for _, one := range []struct {
		house   *house
		address string
	}{{&st.theirs, theirAddress}, {&st.ours, ourAddress}} {
		if one.house.front, err = room.Apache(testenv.Backend(one.address), testenv.Apache{Slots: slots}); err != nil {
			return st, err
		}
		if err := one.house.answers(ctx, st.room); err != nil {
			return st, err
		}
	}
	return st, nil
}

// startOurs puts the shop under tideover.
func (st *stage) startOurs() (address string, err error) {
	var argv []string
	if address, argv, err = st.furnish(&st.ours, "shop"); err != nil {
		return "", err
	}
	st.daemon, err = st.room.Tideover(st.ours.shop, testenv.RunOptions{Name: "shop", Command: argv})
	return address, err
}

// startTheirs puts another copy of the shop under supervisord.
func (st *stage) startTheirs() (address string, err error) {
	var argv []string
	if address, argv, err = st.furnish(&st.theirs, "compare"); err != nil {
		return "", err
	}
	st.supervisord, err = st.room.Supervisord(st.theirs.shop, argv)
	return address, err
}

// furnish lays the app into a folder and says how it is started.
func (st *stage) furnish(h *house, folder string) (address string, argv []string, err error) {
	if h.shop, err = st.room.NewApp(folder, testenv.Release{Number: 1, Import: importTakes}); err != nil {
		return "", nil, err
	}
	if address, err = testenv.Address(); err != nil {
		return "", nil, err
	}
	return address, testenv.Gunicorn{Bind: address}.Argv(st.room), nil
}

func (h *house) client() *load.Client {
	return &load.Client{Address: h.front.Address, Host: host, Prefix: "n"}
}

// answers waits for the first right answer.
func (h *house) answers(ctx context.Context, room *testenv.Env) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := testenv.Poll(ctx, 50*time.Millisecond, func() error { return h.answersAs(ctx, 1) })
	if err != nil {
		return fmt.Errorf("%w\n%s", err, room.Tails(10))
	}
	return nil
}

// answersAs asks the app which release it is.
func (h *house) answersAs(ctx context.Context, release int) error {
	a := h.client().Do(ctx, load.Kind{Name: "which release"})
	switch {
	case a.Loss != "":
		return fmt.Errorf("%s: %s", a.Loss, a.Cause)
	case a.Echo["release"] != fmt.Sprint(release):
		return fmt.Errorf("release %s answers, not %d", a.Echo["release"], release)
	}
	return nil
}

// visitors is what comes in: reading and writing, short and long, each on a
// connection of its own. (An Apache that runs out of threads closes idle
// connections of its clients, with tideover and without; browsers then send
// again, which this load never does.)
func visitors() []load.Kind {
	get := load.Kind{Name: "get"}
	post := load.Kind{Name: "post", Body: 300}
	return []load.Kind{get, post, get, {Name: "get, slow", Query: "s=0.05"}, get,
		{Name: "post chunked", Body: 40 << 10, Chunked: true}, get, post, get, {Name: "post, slow", Body: 300, Query: "s=0.05"}}
}

// play turns the load to a house. The other copy is taken away when it has been
// compared.
func (st *stage) play(h *house) error {
	if st.playing == h {
		return nil
	}
	if st.playing == &st.theirs {
		st.theirs.load.Stop()
		if err := st.endTheirs(); err != nil {
			return err
		}
	}
	h.load = load.Start(load.Plan{Client: h.client(), Rate: rate, Mix: visitors()})
	st.playing = h
	return nil
}

func (st *stage) endTheirs() error {
	return errors.Join(st.supervisord.Stop(syscall.SIGTERM, 20*time.Second), st.theirs.front.Stop(syscall.SIGTERM, 20*time.Second))
}

// close ends the load and every process of the stage, and removes its folder.
func (st *stage) close() error {
	if st.playing != nil {
		st.playing.load.Stop()
	}
	if st.room == nil {
		return nil
	}
	return st.room.Close(false)
}

// toTry lists commands for the visitor, in the shell they have.
func (st *stage) toTry() string {
	folder, err := os.Getwd()
	if err != nil {
		folder = st.room.Root
	}
	binary := strings.TrimPrefix(testenv.Binary(st.room.Root), folder+"/")
	return fmt.Sprintf(`  export TIDEOVER_SOCKET=%s
  alias tideover=%s

  tideover status shop                everything about it
  tideover reload                     the same code again
  tideover restart                    never two copies: requests wait
  tideover hold -- sleep 5            as a migration would
  tideover signal shop KILL           what a crash is like
  tideover logs -f                    what gunicorn says
  curl http://%s/echo   through Apache
`, st.daemon.Socket, binary, st.ours.front.Address)
}

// apacheVersion is what Apache calls itself.
func apacheVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "/usr/sbin/apache2", "-v").Output()
	if err != nil {
		return "Apache"
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "Apache/") {
			return word
		}
	}
	return "Apache"
}
