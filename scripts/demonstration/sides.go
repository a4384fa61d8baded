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

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	rate        = 100 // requests a second
	importTakes = 3   // seconds
	slots       = 150 // Debian's MaxRequestWorkers; a held request takes one
)

// demo is all that runs during the demo.
type demo struct {
	env         *testenv.Env
	ours        side // under tideover
	theirs      side // under supervisord
	daemon      *testenv.Tideover
	supervisord *testenv.Supervisord
	loaded      *side // the side that gets the load
}

// side is one copy of the app with its Apache and its load.
type side struct {
	app   *testenv.App
	front *testenv.FrontEnd
	load  *loadgen.OpenLoop
}

// start starts both sides and waits until they answer. After an error, what was
// started is in the demo returned with it.
func start(ctx context.Context, s screen) (*demo, error) {
	d := &demo{}
	var err error
	if d.env, err = testenv.New("demo"); err != nil {
		return d, err
	}
	if err := testenv.Build(ctx, d.env.Root); err != nil {
		return d, err
	}
	addresses := map[*side]string{}
	for folder, one := range map[string]*side{"shop": &d.ours, "compare": &d.theirs} {
		if one.app, err = d.env.NewApp(folder, testenv.Release{Number: 1, Import: importTakes}); err != nil {
			return d, err
		}
		if addresses[one], err = testenv.Address(); err != nil {
			return d, err
		}
	}
	gunicorn := func(one *side) []string { return testenv.Gunicorn{Bind: addresses[one]}.Argv(d.env) }
	if d.daemon, err = d.env.Tideover(d.ours.app, testenv.RunOptions{Name: "shop", Command: gunicorn(&d.ours)}); err != nil {
		return d, err
	}
	if d.supervisord, err = d.env.Supervisord(d.theirs.app, gunicorn(&d.theirs)); err != nil {
		return d, err
	}
	s.printf("  app     gunicorn -w 4 shop:app, which takes %d s to import\n", importTakes)
	s.printf("  front   %s (event), ProxyPass / http://%s/\n", apacheVersion(ctx), addresses[&d.ours])
	s.printf("  load    %d requests a second, GET and POST; every answer is checked\n", rate)
	for _, one := range []*side{&d.theirs, &d.ours} {
		if one.front, err = d.env.Apache(testenv.Backend(addresses[one]), testenv.Apache{Slots: slots}); err != nil {
			return d, err
		}
		if err := d.waitAnswer(ctx, one); err != nil {
			return d, err
		}
	}
	return d, nil
}

// waitAnswer waits for the first right answer.
func (d *demo) waitAnswer(ctx context.Context, one *side) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := testenv.Poll(ctx, 50*time.Millisecond, func() error { return one.answersAs(ctx, 1) })
	if err != nil {
		return fmt.Errorf("%w\n%s", err, d.env.Tails(10))
	}
	return nil
}

func (one *side) client() *loadgen.Client {
	return &loadgen.Client{Address: one.front.Address, Host: "front.test", Prefix: "n"}
}

// answersAs fails unless this release answers.
func (one *side) answersAs(ctx context.Context, release int) error {
	a := one.client().Do(ctx, loadgen.Kind{Name: "which release"})
	switch {
	case a.Loss != "":
		return fmt.Errorf("%s: %s", a.Loss, a.Cause)
	case a.Echo["release"] != fmt.Sprint(release):
		return fmt.Errorf("release %s answers, not %d", a.Echo["release"], release)
	}
	return nil
}

// requests are reads and writes, short and long, each on a connection of its own:
// an Apache without a free thread closes idle client connections, with
// tideover and without. Browsers then send again; this load never does.
func requests() []loadgen.Kind {
	get := loadgen.Kind{Name: "get"}
	post := loadgen.Kind{Name: "post", Body: 300}
	return []loadgen.Kind{get, post, get, {Name: "get, slow", Query: "s=0.05"}, get,
		{Name: "post chunked", Body: 40 << 10, Chunked: true}, get, post, get, {Name: "post, slow", Body: 300, Query: "s=0.05"}}
}

// loadOnly turns the load to one side. The other copy is ended after its
// comparison.
func (d *demo) loadOnly(one *side) error {
	if d.loaded == one {
		return nil
	}
	if d.loaded == &d.theirs {
		d.theirs.load.Stop()
		if err := errors.Join(d.supervisord.Stop(syscall.SIGTERM, 20*time.Second), d.theirs.front.Stop(syscall.SIGTERM, 20*time.Second)); err != nil {
			return err
		}
	}
	one.load = loadgen.Start(loadgen.Plan{Client: one.client(), Rate: rate, Mix: requests()})
	d.loaded = one
	return nil
}

// close ends the load and every process, and removes their folder.
func (d *demo) close() error {
	if d.loaded != nil {
		d.loaded.load.Stop()
	}
	if d.env == nil {
		return nil
	}
	return d.env.Close(false)
}

// commandsToTry lists commands for the shell of the user.
func (d *demo) commandsToTry() string {
	folder, err := os.Getwd()
	if err != nil {
		folder = d.env.Root
	}
	return fmt.Sprintf(`  export TIDEOVER_SOCKET=%s
  alias tideover=%s

  tideover status shop                everything about it
  tideover reload                     the same code again
  tideover restart                    never two copies: requests wait
  tideover hold -- sleep 5            as a migration would
  tideover signal shop KILL           what a crash is like
  tideover logs -f                    what gunicorn says
  curl http://%s/echo   through Apache
`, d.daemon.Socket, strings.TrimPrefix(testenv.Binary(d.env.Root), folder+"/"), d.ours.front.Address)
}

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
