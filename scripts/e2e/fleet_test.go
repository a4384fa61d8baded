//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Three hosts behind a HAProxy take turns by an etcd, under load. A rollout reloads one after the
// other; a release that is broken on one host halts it there, and the others are untouched; it goes on
// when the release is repaired, although the command that watches is killed; and while etcd is away
// all hosts serve.
func TestARolloutTakesOneHostAfterTheOtherAndStopsAtAFailure(t *testing.T) {
	r := begin(t)
	etcd := startEtcd(r, etcdSetup{members: size(1, 3)})
	var hosts []*fleetHost
	for i := range 3 {
		hosts = append(hosts, newFleetHost(r, etcd.urls, fmt.Sprint("web", i+1), fleetSetup{settings: "local = \"queue\"\n"}))
	}
	front, err := r.env.HAProxy(hosts[0].back, testenv.ProxyConfig{
		Params:   "check",
		Upstream: fmt.Sprintf("    balance roundrobin\n    server two %s check\n    server three %s check", hosts[1].back, hosts[2].back),
	})
	r.must(err)
	client := &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "f"}
	load := loadgen.Start(loadgen.Plan{Client: client, Rate: 50})
	app := hosts[0].daemon.App
	r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
		if o := hosts[0].command("fleet"); strings.Count(o.Stdout, app) != 3 {
			return fmt.Errorf("hosts are missing: %v", o)
		}
		return nil
	}))

	deploy(r, hosts)
	for i := range times(1) {
		flags := [][]string{nil, {"--canary", "web2"}, {"--max-unavailable", "2"}}[i%3]
		hosts[i%3].rollout(0, append([]string{app, "--min-healthy", "1s", "--revision", fmt.Sprint("v", i)}, flags...)...)
		etcd.checkTurns(r, 3, []int{1, 1, 2}[i%3])
	}
	expect(r, hosts, 2, 2, 2)
	reloadAtOnce(r, hosts)
	etcd.checkTurns(r, 3, 2)

	deploy(r, hosts)
	r.must(hosts[1].app.DeployBroken("raise"))
	o := hosts[0].rollout(11, app, "--min-healthy", "1s", "--canary", "web2")
	if !strings.Contains(o.Stderr, "halted at web2") {
		r.Errorf("the cause is missing: %v", o)
	}
	expect(r, hosts, 2, 2, 2)
	etcd.checkTurns(r, 1, 1)
	fixed := hosts[1].app.Release()
	fixed.Number, fixed.Fault = 3, ""
	r.must(hosts[1].app.Deploy(fixed))
	killed, kill := context.WithTimeout(t.Context(), 2*time.Second) // exec kills the command with SIGKILL
	hosts[2].daemon.Call(killed, hosts[2].args("rollout", "resume")...)
	kill()
	hosts[0].rollout(0, "status", "--wait")
	expect(r, hosts, 3, 3, 3)
	etcd.checkTurns(r, 3, 1)

	if len(etcd.members) > 1 { // the member that all ask, and perhaps the leader, dies in a turn
		deploy(r, hosts)
		ended := make(chan testenv.Outcome, 1)
		go func() {
			o, _ := hosts[0].daemon.Call(r.timeout(operationTimeout), hosts[0].args("rollout", app, "--min-healthy", "3s")...)
			ended <- o
		}()
		r.must(testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() error {
			if o := hosts[1].command("rollout", "status"); !strings.Contains(o.Stdout, "reloading") {
				return fmt.Errorf("no turn has begun: %v", o)
			}
			return nil
		}))
		etcd.kill(r, etcd.members[0])
		if o := <-ended; o.Exit != 0 {
			r.Errorf("a rollout while a member of etcd is killed: %v", o)
		}
		expect(r, hosts, 4, 4, 4)
		etcd.checkTurns(r, 3, 1)
		etcd.members = etcd.members[1:]
	}

	served := hosts[0].app.Release().Number
	etcd.kill(r, etcd.members...)
	if o := hosts[0].command("rollout", app); o.Exit != 1 {
		r.Errorf("without etcd: %v", o)
	}
	if o := hosts[0].command("reload", "--timeout", "2s"); o.Exit != 10 || !strings.Contains(o.Stderr, "had not begun and is dropped") {
		r.Errorf("a reload that waits for its turn without etcd: %v", o)
	}
	if o := hosts[0].command("restart"); o.Exit != 0 { // takes no turn
		r.Errorf("without etcd: %v", o)
	}
	expect(r, hosts, served, served, served)
	tally := load.Stop()
	r.measure(tally)
	r.addNumbers("%v", tally)
	r.checkNothingLost(tally)
	for _, h := range hosts {
		h.shutdown()
	}
}

// A host runs the command of a rollout only where its configuration allows it. One that is killed in its
// turn halts the rollout: the others say so, and begin none.
func TestAHostThatDiesInItsTurnHaltsTheRollout(t *testing.T) {
	r := begin(t)
	etcd := startEtcd(r, etcdSetup{members: 1})
	one, two := newFleetHost(r, etcd.urls, "web1", fleetSetup{settings: "allow_command = true\n"}), newFleetHost(r, etcd.urls, "web2", fleetSetup{})
	r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
		if o := one.command("fleet"); strings.Count(o.Stdout, one.daemon.App) != 2 {
			return fmt.Errorf("hosts are missing: %v", o)
		}
		return nil
	}))
	fetched := one.env.Path("fetched")
	forbidden := one.rollout(11, one.daemon.App, "--canary", "web1", "--min-healthy", "0s", "--revision", "v1", "--", "sh", "-c", "echo $TIDEOVER_REVISION >"+fetched)
	if text, err := os.ReadFile(fetched); string(text) != "v1\n" {
		r.Errorf("the command has written %q: %v", text, err)
	}
	if want := "halted at web2: the rollout carries a command, and fleet.allow_command of this host is not true"; !strings.Contains(forbidden.Stderr, want) || !strings.Contains(forbidden.Stderr, "(exit 4)") {
		r.Errorf("%q is missing: %v", want, forbidden)
	}
	if o := two.command("rollout", "status"); !strings.Contains(o.Stdout, "1 of 2 hosts done") {
		r.Errorf("%v", o)
	}
	two.rollout(4, one.daemon.App, "--supersede", "--", "true")
	deploy(r, []*fleetHost{one, two})
	ended := make(chan testenv.Outcome, 1)
	go func() {
		o, _ := one.daemon.Call(r.timeout(90*time.Second), one.args("rollout", one.daemon.App, "--supersede", "--canary", "web2", "--min-healthy", "60s")...)
		ended <- o
	}()
	r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
		if err := two.isRelease(2); err != nil {
			return err
		}
		return nil
	}))
	two.killDaemon()
	o := <-ended
	if o.Exit != 11 || !strings.Contains(o.Stderr, "halted at web2: it has begun its turn, and its lease has ended") {
		r.Errorf("%v", o)
	}
	expect(r, []*fleetHost{one}, 1)
	one.shutdown()
}

// The supervisor of a host is killed in the turn of that host, at another instant each time: the next one goes on
// with the turn. The rollout is complete, or it has halted because the reload was undone; its caller is told which, and the hosts
// serve what it says.
func TestASupervisorKilledInItsTurnGoesOnWithIt(t *testing.T) {
	r := begin(t)
	etcd := startEtcd(r, etcdSetup{members: 1})
	one, two := newFleetHost(r, etcd.urls, "web1", fleetSetup{}), newFleetHost(r, etcd.urls, "web2", fleetSetup{})
	r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
		if o := one.command("fleet"); strings.Count(o.Stdout, one.daemon.App) != 2 {
			return fmt.Errorf("hosts are missing: %v", o)
		}
		return nil
	}))
	load := loadgen.Start(loadgen.Plan{Client: two.client, Rate: 20})
	kills, halted := fullTimes(2, 20), 0
	for n := range kills {
		deploy(r, []*fleetHost{one, two})
		release := two.app.Release().Number
		ended := make(chan testenv.Outcome, 1)
		go func() {
			o, _ := one.daemon.Call(r.timeout(2*operationTimeout), one.args("rollout", one.daemon.App, "--canary", "web2", "--min-healthy", "1s")...)
			ended <- o
		}()
		r.must(testenv.Poll(r.timeout(30*time.Second), 10*time.Millisecond, func() error {
			if o := two.command("rollout", "status"); !strings.Contains(o.Stdout, "reloading") {
				return fmt.Errorf("no turn has begun: %v", o)
			}
			return nil
		}))
		<-time.After(1500 * time.Millisecond * time.Duration(n) / time.Duration(kills)) // another instant each time
		r.must(two.daemon.KillSupervisor(r.timeout(30 * time.Second)))
		o := <-ended
		switch {
		case o.Exit == 0:
			expect(r, []*fleetHost{one, two}, release, release)
		case o.Exit == 11 && strings.Contains(o.Stderr, "halted at web2: kept old"):
			halted++
			expect(r, []*fleetHost{one, two}, release-1, release-1)
			one.rollout(0, "resume")
			expect(r, []*fleetHost{one, two}, release, release)
		default:
			r.Errorf("kill %d: %v", n, o)
			r.addNumbers("%s", two.command("rollout", "status").Stdout)
		}
	}
	tally := load.Stop()
	r.measure(tally)
	r.addNumbers("kills=%d undone=%d %v", kills, halted, tally)
	r.checkNothingLost(tally)
	one.shutdown()
	two.shutdown()
}

// The example runs as it is: it has a load client of its own, and shows a release that is broken on one
// host. At quick size TestARolloutTakesOneHostAfterTheOtherAndStopsAtAFailure does the same.
func TestExampleFleet(t *testing.T) {
	if !sampled(false) {
		return
	}
	r := begin(t)
	port, err := testenv.Ports(10)
	r.must(err)
	e := copyExample(r, "fleet")
	p, err := r.env.Start(testenv.Command{Name: "run", Dir: e.dir, Env: append(e.vars, fmt.Sprint("PORT=", port), "TMPDIR="+r.env.Dir), Argv: []string{"bash", "run"}})
	r.must(err)
	select {
	case <-p.Exited():
	case <-r.timeout(90 * time.Second).Done():
		r.Fatal("the example does not end")
	}
	said, codes, _ := strings.Cut(p.Tail(1000), "== status codes that the client has got\n")
	for _, want := range []string{"rollout 1 of shop v1: complete; 3 of 3", "halted at web2: kept old", "\nexit 11\n", "rollout 2 of shop v2: complete; 3 of 3"} {
		if !strings.Contains(said, want) {
			r.Errorf("%q is missing", want)
		}
	}
	if words := strings.Fields(codes); p.Code() != 0 || len(words) != 2 || words[1] != "200" {
		r.Errorf("exit %d, status codes %q", p.Code(), codes)
	}
	r.addNumbers("responses=%s", strings.Fields(codes + " 0")[0])
}

// fleetHost is a host of the fleet.
type fleetHost struct {
	*fixture
}

// fleetSetup is how a host differs from the usual one.
type fleetSetup struct {
	settings string   // lines of [fleet]
	address  string   // empty: an unused one of 127.0.0.1
	within   []string // a command that execs the daemon
}

// newFleetHost starts a tideover with an Env of its own.
func newFleetHost(r *row, etcd []string, name string, o fleetSetup) *fleetHost {
	r.Helper()
	env, err := testenv.New("row")
	r.must(err)
	r.Cleanup(func() {
		if err := env.Close(r.Failed()); err != nil {
			r.Error(err)
		}
	})
	own := &row{T: r.T, name: "fleet", env: env} // the app has one name on all hosts
	return &fleetHost{newFixture(own, setup{release: testenv.Release{Number: 1, Import: 0.2}, gunicorn: testenv.Gunicorn{Workers: 2}, back: o.address, within: o.within,
		config: fmt.Sprintf("[app.shop.ready]\ntimeout = \"5s\"\n[fleet]\netcd = %s\nhost = %q\n%s", tomlArray(etcd), name, o.settings)})}
}

func (h *fleetHost) args(words ...string) []string {
	return append([]string{"-c", h.env.Path("tideover.toml")}, words...)
}

func (h *fleetHost) command(words ...string) testenv.Outcome {
	h.Helper()
	o, err := h.daemon.Call(h.timeout(operationTimeout), h.args(words...)...)
	h.must(err)
	return o
}

func (h *fleetHost) rollout(exit int, words ...string) testenv.Outcome {
	h.Helper()
	o := h.command(append([]string{"rollout"}, words...)...)
	if o.Exit != exit {
		h.Errorf("rollout %v: want exit %d: %v", words, exit, o)
	}
	return o
}

// deploy puts the next release on all hosts.
func deploy(r *row, hosts []*fleetHost) {
	r.Helper()
	for _, h := range hosts {
		_, err := h.app.DeployNext()
		r.must(err)
	}
}

// reloadAtOnce reloads all hosts at the same time, each by its own command: they take turns.
func reloadAtOnce(r *row, hosts []*fleetHost) {
	r.Helper()
	ended := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() {
			o, err := h.daemon.Call(r.timeout(operationTimeout), "reload")
			if err == nil && o.Exit != 0 {
				err = fmt.Errorf("%v", o)
			}
			ended <- err
		}()
	}
	for range hosts {
		r.must(<-ended)
	}
}

// expect checks which release each host serves.
func expect(r *row, hosts []*fleetHost, releases ...int) {
	r.Helper()
	for i, h := range hosts {
		if err := h.isRelease(releases[i]); err != nil {
			r.Errorf("host %d: %v", i+1, err)
		}
	}
}

// etcdCluster is an etcd.
type etcdCluster struct {
	members []*testenv.Process
	urls    []string
}

// etcdSetup is how an etcd is started.
type etcdSetup struct {
	members int
	program string // empty: Debian's
	host    string // of the addresses for clients; empty: 127.0.0.1
}

func startEtcd(r *row, o etcdSetup) *etcdCluster {
	r.Helper()
	c := &etcdCluster{}
	var peers, all []string
	for i := range o.members {
		c.urls = append(c.urls, "http://"+strings.Replace(r.unusedAddress(), "127.0.0.1", cmp.Or(o.host, "127.0.0.1"), 1))
		peers = append(peers, "http://"+r.unusedAddress())
		all = append(all, fmt.Sprintf("m%d=%s", i, peers[i]))
	}
	for i, client := range c.urls {
		name := fmt.Sprint("m", i)
		p, err := r.env.Start(testenv.Command{Name: "etcd-" + name, Argv: []string{cmp.Or(o.program, "etcd"), "--name", name, "--data-dir", r.env.Path(name),
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(all, ",")}})
		r.must(err)
		c.members = append(c.members, p)
	}
	for _, client := range c.urls {
		r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
			answer, err := http.Get(client + "/health")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if text, _ := io.ReadAll(answer.Body); !strings.Contains(string(text), "true") {
				return fmt.Errorf("etcd: %s", text)
			}
			return nil
		}))
	}
	return c
}

// ask asks the first member that answers.
func (c *etcdCluster) ask(path string, request []byte, reply any) (err error) {
	client := http.Client{Timeout: 3 * time.Second}
	for _, url := range c.urls {
		var answer *http.Response
		if answer, err = client.Post(url+path, "application/json", bytes.NewReader(request)); err != nil {
			continue
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return json.NewDecoder(answer.Body).Decode(reply)
		}
		err = errors.New(answer.Status)
	}
	return err
}

// turnRevisions are the revisions at which a turn has begun and ended.
type turnRevisions struct{ begun, done int64 }

// turns are the turns that etcd has, by rollout and host: of the last two rollouts and of hosts' own reloads.
// It is an error when one is open.
func (c *etcdCluster) turns() (map[string]turnRevisions, error) {
	var found struct {
		Kvs []struct {
			Key, Value []byte
			Revision   int64 `json:"mod_revision,string"`
		}
	}
	request, err := json.Marshal(map[string][]byte{"key": []byte("/tideover/v1/default/"), "range_end": []byte("/tideover/v1/default0")})
	if err != nil {
		return nil, err
	}
	if err := c.ask("/v3/kv/range", request, &found); err != nil {
		return nil, err
	}
	all := map[string]turnRevisions{}
	for _, kv := range found.Kvs {
		kind, name, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), "/tideover/v1/default/"), "/")
		t := all[name]
		switch kind {
		case "begun":
			t.begun = kv.Revision
		case "done":
			t.done = kv.Revision
		default:
			continue
		}
		all[name] = t
	}
	for name, t := range all {
		if t.done < t.begun {
			return nil, fmt.Errorf("the turn %s is open", name)
		}
	}
	return all, nil
}

// checkTurns checks how many hosts have had a turn of the last rollout, and that when one has begun no more
// than most were in theirs. It goes by the revisions of the keys, which are in one order for all hosts.
func (c *etcdCluster) checkTurns(r *row, turns, most int) {
	r.Helper()
	var all map[string]turnRevisions
	r.must(testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() (err error) { // a member of etcd may just have begun
		all, err = c.turns()
		return err
	}))
	last := 0
	for name := range all {
		id, _, _ := strings.Cut(name, "/")
		if number, err := strconv.Atoi(id); err == nil { // else it is of a reload of a host's own
			last = max(last, number)
		}
	}
	count := 0
	for name, t := range all {
		if !strings.HasPrefix(name, fmt.Sprint(last, "/")) {
			continue
		}
		count++
		together := 0
		for _, other := range all {
			if other.begun <= t.begun && t.begun < other.done {
				together++
			}
		}
		if together > most {
			r.Errorf("%d hosts are in their turn at once, at most %d may: %v", together, most, all)
		}
	}
	if count != turns {
		r.Errorf("%d hosts have had a turn of rollout %d, want %d: %v", count, last, turns, all)
	}
}

// kill kills members with SIGKILL.
func (c *etcdCluster) kill(r *row, members ...*testenv.Process) {
	r.Helper()
	for _, m := range members {
		r.must(m.Stop(syscall.SIGKILL, 10*time.Second))
	}
}
