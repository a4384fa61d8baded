//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Five hosts in network namespaces of their own take turns, behind a HAProxy and under load. When a
// process is killed or stopped, or a link is cut, a rollout halts or is complete, at no revision of etcd
// are more hosts in their turn than may be, and no request is lost. It needs root and 15 minutes, and runs at full size.
func TestFiveHostsInNetworksOfTheirOwn(t *testing.T) {
	if !sampled(false) {
		return
	}
	root, err := testenv.Repository()
	if err != nil {
		t.Fatal(err)
	}
	newest, err := filepath.Glob(root + "/.local/etcd/*/etcd")
	if err != nil || len(newest) != 1 {
		t.Fatalf("scripts/setup --full builds the newest etcd: %v %v", newest, err)
	}
	for name, o := range map[string]etcdSetup{"debian": {members: 1}, "newest": {members: 3, program: newest[0]}} {
		t.Run(name, func(t *testing.T) {
			f := startNetworkFleet(begin(t), 5, o)
			f.try("rollouts", func() { f.rollouts(map[int]int{1: 20, 3: 100}[o.members]) })
			f.try("broken", f.breakOne)
			f.try("command_killed", f.killCommand)
			f.try("partition", func() { f.cut(4*time.Second, "ctl") })
			f.try("long_partition", func() { f.cut(25*time.Second, "ctl") })
			f.try("link_down", func() { f.cut(6*time.Second, "ctl", "svc") })
			f.try("host_stopped", f.stopMember)
			if o.members > 1 {
				f.try("leader_killed", f.killLeader)
				f.try("leader_stopped", f.stopLeader)
			}
			f.try("daemon_killed", f.killDaemonInItsTurn)
			tally := f.load.Stop()
			f.measure(tally)
			f.addNumbers("%v", tally)
			f.checkNothingLost(tally)
		})
	}
}

// networkFleet is hosts in network namespaces. Each has two links: one to HAProxy and one to etcd.
type networkFleet struct {
	*row
	id    int
	etcd  *etcdCluster
	hosts []*fleetHost
	load  *loadgen.OpenLoop
	app   string
}

func startNetworkFleet(r *row, hosts int, o etcdSetup) *networkFleet {
	r.Helper()
	f := &networkFleet{row: r, id: 1 + os.Getpid()%100 + 100*(o.members/3)}
	f.network(hosts)
	o.host = f.address("ctl", 254)
	f.etcd = startEtcd(r, o)
	for i := range hosts {
		f.hosts = append(f.hosts, newFleetHost(r, f.etcd.urls, fmt.Sprint("web", i+1), fleetSetup{
			address: f.address("svc", i+1) + ":8000", within: []string{"nsenter", "--net=/run/netns/" + f.namespace(i)}, settings: "wait = \"20s\"\n",
		}))
	}
	others := ""
	for i, h := range f.hosts[1:] {
		others += fmt.Sprintf("    server web%d %s check inter 500ms\n", i+2, h.back)
	}
	front, err := r.env.HAProxy(f.hosts[0].back, testenv.ProxyConfig{Params: "check inter 500ms",
		Upstream: "    balance roundrobin\n    option redispatch\n    retries 5\n" + others})
	r.must(err)
	f.app = f.hosts[0].daemon.App
	r.must(testenv.Poll(r.timeout(30*time.Second), 100*time.Millisecond, func() error {
		if o := f.hosts[0].command("fleet"); strings.Count(o.Stdout, f.app) != hosts {
			return fmt.Errorf("hosts are missing: %v", o)
		}
		return nil
	}))
	f.load = loadgen.Start(loadgen.Plan{Client: &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "f"}, Rate: 50})
	return f
}

// address is that of a host, or of the bridge (254), in one of the two networks.
func (f *networkFleet) address(network string, host int) string {
	return fmt.Sprintf("10.%d.%d.%d", map[string]int{"svc": 201, "ctl": 202}[network], f.id, host)
}

func (f *networkFleet) namespace(host int) string { return fmt.Sprintf("tideover%d-%d", f.id, host+1) }

// network makes the namespaces, and removes them at the end.
func (f *networkFleet) network(hosts int) {
	f.Helper()
	bridges := map[string]string{"svc": fmt.Sprintf("tvs%d", f.id), "ctl": fmt.Sprintf("tvc%d", f.id)}
	f.Cleanup(func() {
		for i := range hosts {
			f.ip("netns", "del", f.namespace(i))
		}
		for _, bridge := range bridges {
			f.ip("link", "del", bridge)
		}
	})
	for network, bridge := range bridges {
		f.ip("link", "add", bridge, "type", "bridge")
		f.ip("addr", "add", f.address(network, 254)+"/24", "dev", bridge)
		f.ip("link", "set", bridge, "up")
	}
	for i := range hosts {
		space := f.namespace(i)
		f.ip("netns", "add", space)
		f.ip("-n", space, "link", "set", "lo", "up")
		for network, bridge := range bridges {
			outside := fmt.Sprintf("%s-%d", bridge, i+1)
			f.ip("link", "add", outside, "type", "veth", "peer", "name", network, "netns", space)
			f.ip("link", "set", outside, "master", bridge, "up")
			f.ip("-n", space, "addr", "add", f.address(network, i+1)+"/24", "dev", network)
			f.ip("-n", space, "link", "set", network, "up")
		}
	}
}

func (f *networkFleet) ip(args ...string) {
	f.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		f.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// try does something, and then ends what has halted. The requests of the time are counted.
func (f *networkFleet) try(name string, do func()) {
	f.Helper()
	began, window := time.Now(), f.load.Open()
	do()
	served := f.hosts[0].app.Release().Number
	for i, h := range f.hosts {
		if err := h.isRelease(served); err != nil {
			f.Errorf("%s: host %d: %v", name, i+1, err)
		}
	}
	tally := window.Close()
	f.Logf("%s: %.1f s, %v", name, time.Since(began).Seconds(), tally)
	f.addNumbers("%s=%d/%d", name, tally.Lost(), tally.Ended)
}

// begin begins a rollout of the next release in the background, and returns when web2, the first, is in its turn.
func (f *networkFleet) begin(flags ...string) <-chan testenv.Outcome {
	f.Helper()
	deploy(f.row, f.hosts)
	ended := make(chan testenv.Outcome, 1)
	go func() {
		o, _ := f.hosts[0].daemon.Call(f.timeout(90*time.Second), f.hosts[0].args(append([]string{"rollout", f.app, "--canary", "web2"}, flags...)...)...)
		ended <- o
	}()
	f.must(testenv.Poll(f.timeout(30*time.Second), 20*time.Millisecond, func() error {
		if o := f.hosts[0].command("rollout", "status"); !strings.Contains(o.Stdout, "reloading") {
			return fmt.Errorf("no turn has begun: %v", o)
		}
		return nil
	}))
	return ended
}

// end expects that a rollout halts or is complete, and resumes one that has halted until it is complete.
func (f *networkFleet) end(ended <-chan testenv.Outcome, exits ...int) {
	f.Helper()
	o := <-ended
	expected := false
	for _, exit := range exits {
		expected = expected || o.Exit == exit
	}
	if !expected {
		f.Errorf("want exit %v: %v", exits, o)
	}
	if o.Exit == 11 {
		f.Logf("halted: %s", o.Stderr[strings.LastIndex(o.Stderr, "tideover: "):])
		f.resume()
	}
	f.etcd.checkTurns(f.row, len(f.hosts), 1)
}

// resume resumes a rollout, when the host that was away has said how its turn has ended.
func (f *networkFleet) resume() {
	f.Helper()
	f.must(testenv.Poll(f.timeout(60*time.Second), 500*time.Millisecond, func() error {
		if o := f.hosts[0].command("rollout", "resume"); o.Exit != 0 {
			return fmt.Errorf("%v", o)
		}
		return nil
	}))
}

func (f *networkFleet) rollouts(n int) {
	for i := range n {
		deploy(f.row, f.hosts)
		most := []int{1, 2, 3}[i%3]
		f.hosts[i%5].rollout(0, f.app, "--min-healthy", "0s", "--max-unavailable", fmt.Sprint(most), "--revision", fmt.Sprint("r", i))
		f.etcd.checkTurns(f.row, len(f.hosts), most)
		if f.Failed() {
			f.Fatalf("the rollout %d", i+1)
		}
	}
}

// breakOne breaks the release on the first host.
func (f *networkFleet) breakOne() {
	before := f.hosts[0].app.Release().Number
	deploy(f.row, f.hosts)
	broken := f.hosts[1].app
	f.must(broken.DeployBroken("raise"))
	o := f.hosts[0].rollout(11, f.app, "--min-healthy", "1s", "--canary", "web2")
	if !strings.Contains(o.Stderr, "halted at web2") {
		f.Errorf("%v", o)
	}
	f.etcd.checkTurns(f.row, 1, 1)
	for i, h := range f.hosts {
		if err := h.isRelease(before); err != nil {
			f.Errorf("host %d after the halt: %v", i+1, err)
		}
	}
	fixed := broken.Release()
	fixed.Number, fixed.Fault = before+1, ""
	f.must(broken.Deploy(fixed))
	f.hosts[3].rollout(0, "resume")
	f.etcd.checkTurns(f.row, len(f.hosts), 1)
}

func (f *networkFleet) killCommand() {
	deploy(f.row, f.hosts)
	killed := exec.Command(testenv.Binary(f.env.Root), append([]string{"-S", f.hosts[0].daemon.Socket}, f.hosts[0].args("rollout", f.app, "--min-healthy", "1s")...)...)
	f.must(killed.Start())
	f.must(testenv.Poll(f.timeout(30*time.Second), 20*time.Millisecond, func() error {
		if o := f.hosts[0].command("rollout", "status"); !strings.Contains(o.Stdout, "reloading") {
			return fmt.Errorf("no turn has begun: %v", o)
		}
		return nil
	}))
	f.must(killed.Process.Kill())
	killed.Wait()
	f.hosts[4].rollout(0, "status", "--wait")
	f.etcd.checkTurns(f.row, len(f.hosts), 1)
}

// cut sets links of web2 down for a while, in its turn.
func (f *networkFleet) cut(lasts time.Duration, networks ...string) {
	ended := f.begin("--min-healthy", "3s")
	set := func(state string) {
		for _, network := range networks {
			f.ip("-n", f.namespace(1), "link", "set", network, state)
		}
	}
	set("down")
	<-time.After(lasts) // the time is what is tested
	set("up")
	f.end(ended, 0, 11)
}

// stopMember stops the process of web2 that speaks with etcd, in its turn, until the others have halted.
func (f *networkFleet) stopMember() {
	ended := f.begin("--min-healthy", "3s")
	pid := f.hosts[1].daemon.RolePid("admin")
	f.must(syscall.Kill(pid, syscall.SIGSTOP))
	f.must(testenv.Poll(f.timeout(60*time.Second), 500*time.Millisecond, func() error {
		if o := f.hosts[0].command("rollout", "status"); o.Exit != 11 {
			return fmt.Errorf("%v", o)
		}
		return nil
	}))
	f.must(syscall.Kill(pid, syscall.SIGCONT))
	f.end(ended, 11)
}

// killDaemonInItsTurn kills the daemon of web2, in its turn; another one takes its place.
func (f *networkFleet) killDaemonInItsTurn() {
	ended := f.begin("--min-healthy", "10s")
	host := f.hosts[1]
	host.killDaemon()
	f.must(host.daemon.StartAgain())
	f.end(ended, 11)
}

// leader is the member of etcd that leads.
func (f *networkFleet) leader() (at int) {
	f.Helper()
	f.must(testenv.Poll(f.timeout(30*time.Second), 200*time.Millisecond, func() error {
		for i, url := range f.etcd.urls {
			var status struct {
				Header struct {
					Member string `json:"member_id"`
				}
				Leader string
			}
			one := etcdCluster{urls: []string{url}}
			if one.ask("/v3/maintenance/status", []byte("{}"), &status) == nil && status.Leader == status.Header.Member {
				at = i
				return nil
			}
		}
		return errors.New("there is no leader")
	}))
	return at
}

func (f *networkFleet) killLeader() {
	at := f.leader()
	ended := f.begin("--min-healthy", "2s")
	f.etcd.kill(f.row, f.etcd.members[at])
	f.end(ended, 0)
	var err error
	f.etcd.members[at], err = f.etcd.members[at].Again()
	f.must(err)
}

func (f *networkFleet) stopLeader() {
	at := f.leader()
	ended := f.begin("--min-healthy", "2s")
	f.must(f.etcd.members[at].Signal(syscall.SIGSTOP))
	f.end(ended, 0)
	f.must(f.etcd.members[at].Signal(syscall.SIGCONT))
}
