//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// fixture is the usual setup of a row: the app, gunicorn under tideover, a
// front-end in front, and a load.
type fixture struct {
	*row
	app     *testenv.App
	daemon  *testenv.Tideover
	back    testenv.Backend
	front   *testenv.FrontEnd // nil: clients talk to tideover itself
	client  *loadgen.Client
	load    *loadgen.OpenLoop // after startLoad
	workers int               // of one generation
	events  int
	lossy   int // events around which a request was lost
}

// setup is how the fixture of a row differs from the usual one.
type setup struct {
	gunicorn testenv.Gunicorn
	command  []string                      // instead of gunicorn
	own      func(address string) []string // a command that names the public address itself
	files    map[string]string             // written into the folder of the app
	flags    []string                      // of tideover run
	release  testenv.Release
	config   string       // lines of [app.NAME] and its tables; run gets -c instead of a command
	binary   string       // of the daemon; empty: the program under test
	tls      bool         // the app speaks TLS with its clients
	unix     bool         // the public socket
	back     string       // the public address; empty: an unused one
	front    frontStarter // nil: none
	within   []string     // a command that execs the daemon; empty: none
	output   *os.File     // of the daemon; nil: a file
	sockets  []*os.File   // passed to the daemon

	directory string // of the app, with config; empty: its folder
}

// usualRelease is the first release of an app whose import takes long: three seconds at full
// size, one second without -full.
func usualRelease() testenv.Release {
	return testenv.Release{Number: 1, Import: float64(size(1, 3))}
}

// frontStarter starts a front-end before an app.
type frontStarter func(*testenv.Env, testenv.Backend) (*testenv.FrontEnd, error)

// newFixture starts the servers and waits for the first answer.
func newFixture(r *row, o setup) *fixture {
	r.Helper()
	s := &fixture{row: r, workers: o.gunicorn.Workers}
	if s.workers == 0 {
		s.workers = 4
	}
	if o.release.Number == 0 {
		o.release = usualRelease()
	}
	var err error
	s.app, err = r.env.NewApp("shop", o.release)
	r.must(err)
	for name, text := range o.files {
		_, err := r.env.Write("shop/"+name, text)
		r.must(err)
	}
	s.back = testenv.Backend(o.back)
	if o.back == "" {
		s.back = s.backAddress(o.unix)
	}
	listen := string(s.back)
	if o.unix {
		listen = "unix:" + listen
	}
	s.start(o, listen)
	s.client = &loadgen.Client{Address: string(s.back), TLS: o.tls, Prefix: "n"}
	if o.unix {
		s.client.Host = "front.test"
	}
	// A front-end that is refused before tideover listens marks the server as failed.
	s.waitRelease(30*time.Second, o.release.Number)
	if o.front != nil {
		s.front, err = o.front(r.env, s.back)
		r.must(err)
		s.client = &loadgen.Client{Address: s.front.Address, Host: "front.test", Prefix: "f"} // the nonces differ from those of the direct client
		s.waitRelease(30*time.Second, o.release.Number)
	}
	return s
}

// start starts the daemon with a gunicorn command, another command or a
// configuration.
func (s *fixture) start(o setup, listen string) {
	s.Helper()
	options := testenv.RunOptions{Flags: o.flags, Command: o.command, Binary: o.binary, Output: o.output, Within: o.within, Sockets: o.sockets}
	switch {
	case o.config != "":
		name := strings.ToLower(strings.ReplaceAll(s.name, "/", "-"))
		options.Name = "shop-" + strings.TrimLeft(name[max(0, len(name)-27):], "-") // 32 at most
		options.Command = nil
		command := o.command
		if len(command) == 0 {
			command = o.gunicorn.Argv(s.env)
		}
		path, err := s.env.Write("tideover.toml", fmt.Sprintf("[app.%s]\ncommand = %s\nlisten = %q\ndirectory = %q\n%s\n",
			options.Name, tomlArray(command), listen, cmp.Or(o.directory, s.app.Dir),
			strings.ReplaceAll(o.config, "[app.shop.", "[app."+options.Name+".")))
		s.must(err)
		options.Flags = append(options.Flags, "-c", path)
	case o.own != nil:
		options.Command = o.own(strings.TrimPrefix(listen, "unix:"))
	case len(o.command) == 0:
		o.gunicorn.Bind = listen
		options.Command = o.gunicorn.Argv(s.env)
	default:
		options.Flags = append(options.Flags, "--listen", listen)
	}
	var err error
	s.daemon, err = s.env.Tideover(s.app, options)
	s.must(err)
}

// tomlArray returns words as a TOML array.
func tomlArray(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = fmt.Sprintf("%q", word)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (s *fixture) backAddress(unix bool) testenv.Backend {
	if unix {
		return testenv.Backend(s.env.Path("shop.sock"))
	}
	address, err := testenv.Address()
	s.must(err)
	return testenv.Backend(address)
}

// waitRelease waits until this release answers a request.
func (s *fixture) waitRelease(limit time.Duration, release int) {
	s.Helper()
	s.must(testenv.Poll(s.timeout(limit), 50*time.Millisecond, func() error {
		select {
		case <-s.daemon.Exited():
			return fmt.Errorf("tideover ended with %d: %s", s.daemon.Code(), s.daemon.Tail(20))
		default:
		}
		return s.isRelease(release)
	}))
}

// isRelease fails unless this release answers.
func (s *fixture) isRelease(number int) error {
	a := s.client.Do(context.Background(), loadgen.Kind{Name: "which release"})
	if a.Loss != "" {
		return fmt.Errorf("%s: %s", a.Loss, a.Cause)
	}
	if a.Echo["release"] != fmt.Sprint(number) {
		return fmt.Errorf("release %s answers, not %d", a.Echo["release"], number)
	}
	return nil
}

// sendInFlight sends a GET and a POST that take a second, and returns when the app
// has logged the begin of both.
func (s *fixture) sendInFlight() {
	s.Helper()
	for _, k := range []loadgen.Kind{{Name: "get in flight", Query: "s=1"}, {Name: "post in flight", Query: "s=1", Body: 2000}} {
		nonce := s.load.Send(k)
		s.must(s.app.Log.Wait(s.timeout(30*time.Second), "begin", nonce))
	}
}

// event runs do with requests in flight, and fails the row for each request that
// ended meanwhile and was lost.
func (s *fixture) event(name string, do func()) {
	s.Helper()
	s.sendInFlight()
	window := s.load.Open()
	do()
	s.events++
	if tally := window.Close(); tally.Lost() > 0 {
		s.lossy++
		s.Errorf("%s lost %d requests: %s", name, tally.Lost(), tally.Ways())
	}
}

// reload deploys the next release and reloads. After exit code 0 the new release
// must answer the next request.
// It waits for the drain, so that a request that the old release loses is an exit code.
func (s *fixture) reload() { s.Helper(); s.operate("reload", "--wait-drain") }

// restart deploys the next release and restarts.
func (s *fixture) restart() { s.Helper(); s.operate("restart") }

func (s *fixture) operate(verb string, args ...string) {
	s.Helper()
	s.event(verb, func() {
		next, err := s.app.DeployNext()
		s.must(err)
		result, outcome, err := s.daemon.Operate(s.timeout(90*time.Second), verb, args...)
		s.must(err)
		if outcome.Exit != 0 || result.Exit != 0 {
			s.Errorf("%s: %v", verb, outcome)
		}
		if err := s.isRelease(next.Number); err != nil {
			s.Errorf("%s said ok, and then: %v", verb, err)
		}
	})
}

// waitWorkers waits until every worker of the serving generation has imported the
// app: one that is still at it would find what is deployed next.
func (s *fixture) waitWorkers() {
	s.Helper()
	now, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.must(testenv.Poll(s.timeout(30*time.Second), 50*time.Millisecond, func() error {
		ready, err := s.app.Log.ReadyWorkers(now.Generation)
		if err == nil && ready < s.workers {
			err = fmt.Errorf("%d of %d workers are ready", ready, s.workers)
		}
		return err
	}))
}

// failedReload reloads a release with a fault: the exit code is 7 and the old
// release answers.
func (s *fixture) failedReload(fault string) {
	s.Helper()
	s.waitWorkers()
	before := s.app.Release()
	s.event("reload of a release that does "+fault, func() {
		s.must(s.app.DeployBroken(fault))
		result, outcome, err := s.daemon.Operate(s.timeout(90*time.Second), "reload")
		s.must(err)
		if outcome.Exit != 7 || result.Exit != 7 {
			s.Errorf("want exit 7: %v", outcome)
		}
		if err := s.isRelease(before.Number); err != nil {
			s.Errorf("after a failed reload: %v", err)
		}
	})
	s.must(s.app.Deploy(before))
}

// killMaster kills gunicorn's main process and waits for the next generation.
func (s *fixture) killMaster() {
	s.Helper()
	s.event("kill -9 of the master", func() {
		before, err := s.daemon.Status(s.timeout(10 * time.Second))
		s.must(err)
		s.must(syscall.Kill(before.Pid, syscall.SIGKILL))
		s.waitGeneration(before.Generation + 1)
	})
}

// resetBackoff reloads the app, which resets the count of restarts.
func (s *fixture) resetBackoff() {
	s.Helper()
	_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("reload: %v", outcome)
	}
}

// waitGeneration waits until this generation or a later one runs.
func (s *fixture) waitGeneration(generation int) {
	s.Helper()
	s.must(testenv.Poll(s.timeout(60*time.Second), 50*time.Millisecond, func() error {
		now, err := s.daemon.Status(s.timeout(10 * time.Second))
		if err == nil && (now.State != "running" || now.Generation < generation) {
			err = fmt.Errorf("%s in generation %d, waiting for %d", now.State, now.Generation, generation)
		}
		return err
	}))
}

// reloadAndRestart is a row from the first request to the end of the daemon: a reload and a restart
// under load lose nothing.
func (s *fixture) reloadAndRestart(rate int) {
	s.Helper()
	s.startLoad(rate)
	for range times(1) {
		s.reload()
		s.restart()
	}
	s.finish()
	s.shutdown()
}

// finish ends the load: no request may be lost and no POST begun twice.
func (s *fixture) finish() loadgen.Tally {
	s.Helper()
	tally := s.load.Stop()
	s.report(tally)
	s.checkNothingLost(tally)
	s.checkNothingTwice(s.app)
	return tally
}

func (s *fixture) report(tally loadgen.Tally) {
	s.measure(tally)
	s.addNumbers("events=%d lossy=%d %v", s.events, s.lossy, tally)
}

// killDaemon kills the daemon, and returns when its relay has ended too: until then that one passes
// requests to the old processes.
func (s *fixture) killDaemon() {
	s.Helper()
	relay := s.daemon.RelayPid()
	s.must(s.daemon.Kill())
	<-s.daemon.Exited()
	s.awaitExit(relay)
}

// awaitExit waits for the end of a process that is not the row's child.
func (r *row) awaitExit(pid int) {
	r.Helper()
	r.must(testenv.Poll(r.timeout(time.Minute), 5*time.Millisecond, func() error {
		if procField(fmt.Sprintf("/proc/%d/status", pid), "Threads:") > 0 {
			return fmt.Errorf("process %d has not ended", pid)
		}
		return nil
	}))
}

// shutdown ends the daemon by its verb and checks that no process is left.
func (s *fixture) shutdown() {
	s.Helper()
	outcome, err := s.daemon.Call(s.timeout(90*time.Second), "shutdown")
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("shutdown: %v", outcome)
	}
	select {
	case <-s.daemon.Exited():
	case <-s.timeout(60 * time.Second).Done():
		s.Fatal("the daemon is still there after shutdown")
	}
	s.checkNoneLeft()
}

// counter reads one of the daemon's counters.
func (s *fixture) counter(name string) int {
	s.Helper()
	status, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	value, known := status.Counters[name]
	if !known {
		s.Errorf("status has no counter %q: %v", name, status.Counters)
	}
	return value
}

// waitCounter waits until one of the daemon's counters is n: an ending is counted just after the
// client, or the app, has noticed it.
func (s *fixture) waitCounter(name string, n int) {
	s.Helper()
	s.must(testenv.Poll(s.timeout(10*time.Second), 20*time.Millisecond, func() error {
		if now := s.counter(name); now != n {
			return fmt.Errorf("%s=%d, want %d", name, now, n)
		}
		return nil
	}))
}

// apache starts an Apache, the front-end of most rows.
func apache(a testenv.Apache) frontStarter {
	return func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) { return r.Apache(back, a) }
}

// loadFlags are the flags for a load of 100 requests per second: the hold limit
// suffices also on a slow machine, and the start of a release that never answers
// fails after 12 s.
func loadFlags() []string {
	return flags("--hold-limit", "4000", "--hold-timeout", "60s", "--ready-timeout", "12s")
}

func flags(more ...string) []string { return slices.Clone(more) }
