//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Two hosts behind a HAProxy that asks their agents. A host that is drained gets no new request, and
// loses none that it has, over a reload and a kill of the admin process; undrain, or the end of its
// time, brings it back.
func TestADrainedHostGetsNoNewRequests(t *testing.T) {
	r := begin(t)
	var hosts []*agentHost
	for _, name := range []string{"one", "two"} {
		hosts = append(hosts, newAgentHost(r, name))
	}
	front, err := r.env.HAProxy(hosts[0].back, testenv.ProxyConfig{
		Params:   hosts[0].server(),
		Upstream: fmt.Sprintf("    balance roundrobin\n    server two %s %s", hosts[1].back, hosts[1].server()),
	})
	r.must(err)
	client := &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "f"}
	load := loadgen.Start(loadgen.Plan{Client: client, Rate: 50})
	for _, h := range hosts {
		h.getsRequests()
	}
	for i, h := range hosts {
		flags := [][]string{nil, {"--for", "5s"}}[i]
		h.call("drain", flags...)
		if i == 0 { // with the other one the time may be over soon
			h.getsNone(hosts[1])
			h.call("reload", "--wait-drain")
			h.killAdmin()
			h.getsNone(hosts[1])
			h.call("undrain")
		}
		h.getsRequests()
	}
	tally := load.Stop()
	r.measure(tally)
	r.addNumbers("%v", tally)
	r.checkNothingLost(tally)
	for _, h := range hosts {
		h.checkNothingTwice(h.app)
		h.shutdown()
	}
}

// agentHost is a host with an agent.
type agentHost struct {
	*fixture
	agent string // address
}

// newAgentHost starts a tideover with an Env of its own.
func newAgentHost(r *row, name string) *agentHost {
	r.Helper()
	env, err := testenv.New("row")
	r.must(err)
	r.Cleanup(func() {
		if err := env.Close(r.Failed()); err != nil {
			r.Error(err)
		}
	})
	own := &row{T: r.T, name: name, env: env}
	agent := own.unusedAddress()
	return &agentHost{newFixture(own, setup{release: testenv.Release{Number: 1, Import: 0.2}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "[app.shop.agent]\nlisten = \"" + agent + "\"\n"}), agent}
}

// server are the words of its line in HAProxy's configuration.
func (h *agentHost) server() string {
	_, port, _ := net.SplitHostPort(h.agent)
	return "check inter 200 agent-check agent-inter 200 agent-port " + port
}

func (h *agentHost) call(verb string, flags ...string) {
	h.Helper()
	o, err := h.daemon.Call(h.timeout(operationTimeout), append([]string{verb, h.daemon.App}, flags...)...)
	if err != nil || o.Exit != 0 {
		h.Errorf("%s: %v %v", verb, o, err)
	}
}

func (h *agentHost) requests() int {
	h.Helper()
	s, err := h.daemon.Status(h.timeout(30 * time.Second))
	h.must(err)
	return s.Counters["requests"]
}

// getsRequests waits until the host has got some more requests.
func (h *agentHost) getsRequests() {
	h.Helper()
	before := h.requests()
	h.must(testenv.Poll(h.timeout(30*time.Second), 50*time.Millisecond, func() error {
		if got := h.requests() - before; got < 10 {
			return fmt.Errorf("host %s got %d requests", h.name, got)
		}
		return nil
	}))
}

// getsNone waits until the host gets no request while the other one gets some.
func (h *agentHost) getsNone(other *agentHost) {
	h.Helper()
	h.must(testenv.Poll(h.timeout(30*time.Second), time.Millisecond, func() error {
		before := h.requests()
		other.getsRequests()
		if got := h.requests() - before; got > 0 {
			return fmt.Errorf("host %s got %d requests", h.name, got)
		}
		return nil
	}))
}

// killAdmin kills the process that answers the agent-check.
func (h *agentHost) killAdmin() {
	h.Helper()
	probe := &adminProbe{fixture: h.fixture}
	pid := probe.pid()
	h.must(syscall.Kill(pid, syscall.SIGKILL))
	probe.pid(pid)
}
