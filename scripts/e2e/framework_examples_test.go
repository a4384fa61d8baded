//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// exampleApp is a directory of examples/ that runs as it is, but for the port.
type exampleApp struct {
	*row
	dir    string
	vars   []string
	binary string // of the daemon; empty: the program under test
	daemon *testenv.Tideover
	client *loadgen.Client
	load   *loadgen.OpenLoop
	events int
}

// copyExample copies the directory, because programs write into it.
func copyExample(r *row, name string) *exampleApp {
	r.Helper()
	return copyExampleTo(r, name, r.env.Path(filepath.Base(name)))
}

func copyExampleTo(r *row, name, dir string) *exampleApp {
	r.Helper()
	e := &exampleApp{row: r, dir: dir}
	r.must(os.CopyFS(e.dir, os.DirFS(filepath.Join(r.env.Root, "examples", name))))
	r.must(filepath.Walk(e.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && filepath.Ext(path) == ".sh" { // CopyFS keeps no mode
			err = os.Chmod(path, 0o755)
		}
		return err
	}))
	e.vars = []string{"PATH=" + strings.Join([]string{filepath.Dir(r.env.Venv("examples", "python")), filepath.Dir(testenv.Binary(r.env.Root)), os.Getenv("PATH")}, ":")}
	return e
}

// replace changes a file of the example.
func (e *exampleApp) replace(name, old, new string) {
	e.Helper()
	path := filepath.Join(e.dir, name)
	text, err := os.ReadFile(path)
	e.must(err)
	if !strings.Contains(string(text), old) {
		e.Fatalf("%s has no %q", name, old)
	}
	e.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, new)), 0o644))
}

// start starts the daemon with the example's configuration at a port of its own, and waits for the
// first answer to kind.
func (e *exampleApp) start(app string, kind loadgen.Kind) {
	e.Helper()
	address, err := testenv.Address()
	e.must(err)
	e.replace("tideover.toml", "127.0.0.1:8000", address)
	e.run(app)
	e.client = &loadgen.Client{Address: address, Host: address}
	e.must(testenv.Poll(e.timeout(30*time.Second), 50*time.Millisecond, func() error {
		a := e.client.Do(e.Context(), kind)
		if a.Loss != "" {
			return fmt.Errorf("%s: %s\n%s", a.Loss, a.Cause, e.daemon.Tail(20))
		}
		return nil
	}))
}

func (e *exampleApp) run(app string) {
	e.Helper()
	var err error
	e.daemon, err = e.env.Tideover(&testenv.App{Dir: e.dir}, testenv.RunOptions{Flags: []string{"-c", filepath.Join(e.dir, "tideover.toml")}, Name: app, Env: e.vars, Binary: e.binary})
	e.must(err)
}

// command runs a program in the example's directory, with tideover and the example's packages on
// PATH.
func (e *exampleApp) command(argv ...string) (exit int, output string) {
	e.Helper()
	cmd := exec.CommandContext(e.timeout(60*time.Second), "env", append(append(e.vars, "TIDEOVER_SOCKET="+e.env.Path("control.sock")), argv...)...)
	cmd.Dir = e.dir
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		e.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// event runs do under load, and fails the row if a request that ended meanwhile was lost.
func (e *exampleApp) event(name string, do func()) {
	e.Helper()
	window := e.load.Open()
	do()
	e.events++
	if tally := window.Close(); tally.Lost() > 0 {
		e.Errorf("%s lost %d requests: %s", name, tally.Lost(), tally.Ways())
	}
}

// exits runs a verb under load.
func (e *exampleApp) exits(want int, verb ...string) {
	e.Helper()
	e.event(strings.Join(verb, " "), func() {
		outcome, err := e.daemon.Call(e.timeout(60*time.Second), verb...)
		e.must(err)
		if outcome.Exit != want {
			e.Errorf("%v: want exit %d: %v", verb, want, outcome)
		}
	})
}

// killMain kills the main process, and waits for the next generation.
func (e *exampleApp) killMain() {
	e.Helper()
	e.event("kill -9", func() {
		before, err := e.daemon.Status(e.timeout(10 * time.Second))
		e.must(err)
		outcome, err := e.daemon.Call(e.timeout(10*time.Second), "signal", e.daemon.App, "KILL") // it may be in a pid namespace of its own
		e.must(err)
		if outcome.Exit != 0 {
			e.Fatal(outcome)
		}
		e.must(testenv.Poll(e.timeout(30*time.Second), 50*time.Millisecond, func() error {
			now, err := e.daemon.Status(e.timeout(10 * time.Second))
			if err == nil && (now.State != "running" || now.Generation <= before.Generation) {
				err = fmt.Errorf("%s in generation %d", now.State, now.Generation)
			}
			return err
		}))
	})
}

// throughEverything reloads, restarts, kills and deploys a broken release, once each or, at full size,
// ten times.
func (e *exampleApp) throughEverything(module string) {
	e.Helper()
	for range times(1) {
		e.exits(0, "reload", "--wait-drain", e.daemon.App)
		e.exits(0, "restart", e.daemon.App)
		e.killMain()
		text, err := os.ReadFile(filepath.Join(e.dir, module))
		e.must(err)
		e.must(os.WriteFile(filepath.Join(e.dir, module), append([]byte("import nothing_of_this_name\n"), text...), 0o644))
		e.exits(7, "reload", e.daemon.App)
		e.must(os.WriteFile(filepath.Join(e.dir, module), text, 0o644))
	}
}

// finish ends the load and the daemon.
func (e *exampleApp) finish() loadgen.Tally {
	e.Helper()
	tally := e.load.Stop()
	e.measure(tally)
	e.addNumbers("events=%d %v", e.events, tally)
	e.checkNothingLost(tally)
	e.stop()
	return tally
}

func (e *exampleApp) stop() {
	e.Helper()
	e.must(e.daemon.Signal(syscall.SIGTERM))
	select {
	case <-e.daemon.Exited():
	case <-e.timeout(30 * time.Second).Done():
		e.Fatal("the daemon does not end")
	}
	e.checkNoneLeft()
}

func TestExampleFlask(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "flask")
	page := loadgen.Kind{Name: "page", Path: "/", Plain: true, Want: "shop, generation "}
	e.start("shop", page)
	kept := page
	kept.Keep = true
	e.load = loadgen.Start(loadgen.Plan{Client: e.client, Rate: 20, Mix: []loadgen.Kind{page, kept}})
	e.throughEverything("shop.py")
	e.event("touch restart.txt", func() {
		before, err := e.daemon.Status(e.timeout(10 * time.Second))
		e.must(err)
		e.must(os.WriteFile(filepath.Join(e.dir, "restart.txt"), nil, 0o644))
		e.must(testenv.Poll(e.timeout(30*time.Second), 50*time.Millisecond, func() error {
			now, err := e.daemon.Status(e.timeout(10 * time.Second))
			if err == nil && now.Generation == before.Generation {
				err = fmt.Errorf("still generation %d", now.Generation)
			}
			return err
		}))
	})
	e.finish()
}

// The migration makes a table with which the old code fails, and that the new code needs: each order
// of a client must be there afterwards, and no client may have got an error.
func TestExampleDjangoMigration(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "django")
	e.replace("bookshop/models.py", "    copies = models.IntegerField(default=1)\n", "")
	e.replace("bookshop/models.py", "book", "title")
	e.replace("bookshop/urls.py", "book=", "title=")
	if exit, out := e.command("python", "manage.py", "migrate", "bookshop", "0001"); exit != 0 {
		e.Fatalf("migrate 0001: exit %d\n%s", exit, out)
	}
	list := loadgen.Kind{Name: "list", Path: "/orders", Plain: true, Want: " orders\n"}
	order := loadgen.Kind{Name: "order", Path: "/orders", Body: 30, Plain: true, Want: "ordered\n"}
	e.start("bookshop", list)
	ordered := 0
	e.load = loadgen.Start(loadgen.Plan{Client: e.client, Rate: 15, Mix: []loadgen.Kind{list, order}, Each: func(a loadgen.Answer) {
		if a.Kind.Name == order.Name && a.Loss == "" {
			ordered++
		}
	}})
	for _, file := range []string{"bookshop/models.py", "bookshop/urls.py"} {
		text, err := os.ReadFile(filepath.Join(e.env.Root, "examples/django", file))
		e.must(err)
		e.must(os.WriteFile(filepath.Join(e.dir, file), text, 0o644))
	}
	for _, step := range []string{"with a migration", "without one"} {
		e.event("deploy "+step, func() {
			if exit, out := e.command("./deploy.sh"); exit != 0 {
				e.Errorf("deploy %s: exit %d\n%s", step, exit, out)
			}
		})
	}
	e.throughEverything("bookshop/settings.py")
	tally := e.load.Stop()
	counted := regexp.MustCompile(`^(\d+) orders\n$`).FindSubmatch(e.client.Do(e.Context(), list).Body)
	if counted == nil || string(counted[1]) != fmt.Sprint(ordered) {
		e.Errorf("%d orders were answered, and the table has %s", ordered, counted)
	}
	e.measure(tally)
	e.addNumbers("events=%d orders=%d %v", e.events, ordered, tally)
	e.checkNothingLost(tally)
	e.stop()
}

func TestExampleFastAPI(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "fastapi")
	page := loadgen.Kind{Name: "page", Path: "/", Plain: true, Want: `{"generation":"`}
	e.start("api", page)
	events := loadgen.Kind{Name: "events", Path: "/events", Query: "n=4", Plain: true, Want: "data: 3\n\n"}
	mix := []loadgen.Kind{page, page, page, page, page, page, page, page, page, events}
	e.load = loadgen.Start(loadgen.Plan{Client: e.client, Rate: 15, Mix: mix})
	socket, err := e.client.WebSocket(e.timeout(20*time.Second), "/ws")
	e.must(err)
	echo := func(text string) {
		if got, err := socket.Echo(text, 10*time.Second); err != nil || got != "echo: "+text {
			e.Errorf("the websocket answers %q, %v", got, err)
		}
	}
	echo("before the reload")
	e.exits(0, "reload", "api")
	echo("after the reload")
	socket.Close()
	e.throughEverything("main.py")
	e.finish()
}

// Each task that a producer has queued is done once, also while verbs replace the workers.
func TestExampleCelery(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "celery")
	port, err := testenv.Port()
	r.must(err)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	_, err = r.env.Start(testenv.Command{Name: "redis", Dir: r.env.Dir,
		Argv: []string{"redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no"}})
	r.must(err)
	flower, err := testenv.Port()
	r.must(err)
	e.replace("tideover.toml", "5555", fmt.Sprint(flower))
	e.vars = append(e.vars, "BROKER="+broker)
	e.run("jobs")
	e.must(testenv.Poll(e.timeout(60*time.Second), 200*time.Millisecond, func() error {
		outcome, err := e.daemon.Call(e.timeout(10*time.Second), "status", "--check")
		if err == nil && outcome.Exit != 0 {
			err = fmt.Errorf("%v\n%s", outcome, e.daemon.Tail(20))
		}
		return err
	}))
	e.client = &loadgen.Client{Address: fmt.Sprintf("127.0.0.1:%d", flower)}
	if a := e.client.Do(e.timeout(20*time.Second), loadgen.Kind{Path: "/", Plain: true, Want: "worker-1@shop"}); a.Loss != "" {
		e.Errorf("flower: %s %s", a.Loss, a.Cause)
	}

	journal := e.env.Path("journal")
	producer, err := e.env.Start(testenv.Command{Name: "producer", Dir: e.dir, Env: e.vars, Argv: []string{e.env.Venv("examples", "python"), "-c",
		"import sys, time, tasks\nn = 0\nwhile True:\n    tasks.bill.delay(n, sys.argv[1])\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.1)\n", journal}})
	e.must(err)
	operations := 2
	if *full {
		operations = 60 // 50 reloads, 10 restarts
	}
	for i := range operations {
		verb := "reload"
		if i%6 == 1 {
			verb = "restart"
		}
		if outcome, err := e.daemon.Call(e.timeout(120*time.Second), verb, "jobs"); err != nil || outcome.Exit != 0 {
			e.Fatalf("%s: %v %v", verb, outcome, err)
		}
	}
	e.must(producer.Stop(syscall.SIGTERM, 10*time.Second))
	queued := len(strings.Fields(producer.Tail(1 << 20)))
	var text string
	e.must(testenv.Poll(e.timeout(60*time.Second), 200*time.Millisecond, func() error {
		all, err := os.ReadFile(journal)
		text = string(all)
		if ended := strings.Count(text, "end "); err == nil && ended < queued {
			err = fmt.Errorf("%d of %d tasks have ended", ended, queued)
		}
		return err
	}))
	lost, doubled := 0, 0
	for order := range queued {
		switch n := strings.Count(text, fmt.Sprintf("begin %d\n", order)); {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	e.addNumbers("operations=%d tasks=%d lost=%d doubled=%d", operations, queued, lost, doubled)
	if lost+doubled > 0 || queued < 100 {
		e.Errorf("of %d tasks %d were lost and %d done twice", queued, lost, doubled)
	}
	e.stop()
}
