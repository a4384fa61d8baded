//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The relay is killed again and again under load, every other time while requests are held. Clients
// lose at most what was in flight and held at that moment. No connection is refused, no request is
// executed twice, no process of the app is started again, and each request that a relay has read is
// in the counters.
func TestFaultRelayKilled(t *testing.T) {
	t.Parallel()
	for name, front := range map[string]frontStarter{"alone": nil, "apache": apache(testenv.Apache{Params: "upgrade=websocket"})} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(begin(t), setup{front: front, gunicorn: testenv.UvicornWorker(""), release: testenv.Release{Number: 1}, flags: loadFlags()})
			k := startRelayKills(s)
			for n := range fullTimes(4, 100) {
				k.kill(n%2 == 1)
			}
			k.finish()
			s.shutdown()
		})
	}
}

// relayKills is a row in which the relay is killed.
type relayKills struct {
	*fixture
	before     testenv.AppStatus // before the load
	children   []string          // processes of the app, before the load
	deaths     []relayDeath
	websockets int           // that were opened
	ended      []requestLife // those of the load
}

// relayDeath is the death of one relay.
type relayDeath struct {
	killed   time.Time     // SIGKILL is sent after it
	gone     time.Time     // no process of that relay existed any more
	replaced time.Time     // the next relay has answered or held a request
	held     int           // requests that it held, as status said before
	answer   time.Duration // from the kill to the answer on a new connection, where none is held
	open     int           // requests that were under way at the clients
	lost     int
}

// requestLife is what became of one request of the load.
type requestLife struct {
	nonce        string
	began, ended time.Time
	loss         string // in words; empty: it was answered
}

// startRelayKills starts the load.
func startRelayKills(s *fixture) *relayKills {
	s.Helper()
	k := &relayKills{fixture: s}
	s.client.Timeout = 2 * time.Minute // a busy machine is no loss
	rate := 200
	if !*full {
		rate = s.affordableRate(rate)
	}
	k.waitWorkers()
	k.before, k.children = k.statusAtRest(), k.processes()
	k.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: rate, Each: func(a loadgen.Answer) {
		life := requestLife{nonce: a.Nonce, began: a.Started, ended: a.Started.Add(a.Waited)}
		if a.Loss != "" {
			life.loss = fmt.Sprintf("%s %s: %s, %s", a.Kind.Name, a.Nonce, a.Loss, a.Cause)
		}
		k.ended = append(k.ended, life)
	}})
	return k
}

// kill kills the relay while requests are in flight, websockets are open and, if held is set,
// requests are held.
func (k *relayKills) kill(held bool) {
	k.Helper()
	pause(k.row, time.Second) // a relay that has run for so long is replaced without a delay
	websockets := k.openWebSockets(5)
	for _, kind := range []loadgen.Kind{{Name: "get in flight", Query: "s=4"}, {Name: "post in flight", Query: "s=4", Body: 2000}} {
		k.must(k.app.Log.Wait(k.timeout(30*time.Second), "begin", k.load.Send(kind)))
	}
	var d relayDeath
	holding := make(chan error, 1)
	if held {
		ctx := k.timeout(operationTimeout)
		go func() { // the verb waits for the requests in flight
			outcome, err := k.daemon.Call(ctx, "hold", k.daemon.App, "--for", "1m")
			if err == nil && outcome.Exit != 0 {
				err = errors.New(outcome.String())
			}
			holding <- err
		}()
		k.waitHeld(3)
		now, err := k.daemon.Status(k.timeout(10 * time.Second))
		k.must(err)
		d.held = now.Held
	}
	relay := k.waitRelay(0)
	d.killed = time.Now()
	k.must(syscall.Kill(relay, syscall.SIGKILL))
	k.must(testenv.Poll(k.timeout(20*time.Second), time.Millisecond, func() error {
		if syscall.Kill(relay, 0) == nil {
			return fmt.Errorf("the relay %d has not exited", relay)
		}
		return nil
	}))
	d.gone = time.Now()
	probe := make(chan loadgen.Answer, 1)
	go func() { probe <- k.client.Do(context.Background(), loadgen.Kind{Name: "on a new connection"}) }()
	k.checkWebSocketsEnd(websockets)
	if held {
		k.waitRelay(relay)
		k.waitHeld(1)
		d.replaced = time.Now()
		k.must(<-holding)
		k.release()
	}
	a := <-probe
	if a.Loss != "" {
		k.Errorf("a new connection after the death of the relay: %s %s", a.Loss, a.Cause)
	}
	if !held {
		d.replaced = a.Started.Add(a.Waited)
		d.answer = d.replaced.Sub(d.killed)
	}
	k.deaths = append(k.deaths, d)
	k.events++
}

// waitRelay waits for a relay that is another process than former, and returns its pid.
func (k *relayKills) waitRelay(former int) (pid int) {
	k.Helper()
	k.must(testenv.Poll(k.timeout(30*time.Second), time.Millisecond, func() error {
		if pid = k.daemon.RelayPid(); pid == k.daemon.Pid() || pid == former {
			return errors.New("there is no relay")
		}
		return nil
	}))
	return pid
}

// openWebSockets opens n websockets that work.
func (k *relayKills) openWebSockets(n int) []*loadgen.WebSocket {
	k.Helper()
	all := make([]*loadgen.WebSocket, n)
	for i := range all {
		ws, err := k.client.WebSocket(k.timeout(20*time.Second), "/ws")
		k.must(err)
		k.Cleanup(func() { ws.Close() })
		if text, err := ws.Echo("ping", time.Minute); err != nil || !strings.HasSuffix(text, " echo=ping") {
			k.Errorf("a new websocket: %q, %v", text, err)
		}
		all[i] = ws
		k.websockets++
	}
	return all
}

// checkWebSocketsEnd fails the row when a websocket of the relay that was killed does not end.
func (k *relayKills) checkWebSocketsEnd(all []*loadgen.WebSocket) {
	k.Helper()
	for _, ws := range all {
		if text, err := ws.Read(time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			k.Errorf("a websocket of the relay that was killed: %q, %v, want its end", text, err)
		}
		ws.Close()
	}
}

// endings are the counters of requests that have ended. Their sum is the number of requests while
// none is under way.
var endings = []string{"answered", "expired", "overflowed", "client_left", "cut", "bad_request", "bad_gateway", "timed_out", "refused"}

// statusAtRest returns the status once no request is under way by the counters.
func (k *relayKills) statusAtRest() (now testenv.AppStatus) {
	k.Helper()
	k.must(testenv.Poll(k.timeout(20*time.Second), 20*time.Millisecond, func() (err error) {
		if now, err = k.daemon.Status(k.timeout(10 * time.Second)); err != nil {
			return err
		}
		underWay := now.Counters["requests"]
		for _, name := range endings {
			underWay -= now.Counters[name]
		}
		if underWay != 0 || now.InFlight != 0 || now.Held != 0 {
			err = fmt.Errorf("%d requests are under way by the counters, %d in flight, %d held: %v", underWay, now.InFlight, now.Held, now.Counters)
		}
		return err
	}))
	return now
}

// processes are those of the app.
func (k *relayKills) processes() []string { return slices.Sorted(slices.Values(k.env.AppProcesses())) }

// finish ends the load and compares what the clients, the app and tideover have counted.
func (k *relayKills) finish() {
	k.Helper()
	for _, ws := range k.openWebSockets(5) {
		ws.Close()
	}
	tally := k.load.Stop()
	k.report(tally)
	k.checkNothingTwice(k.app)
	k.checkLosses(tally)
	after := k.statusAtRest()
	k.checkCounts(tally, after)
	if children := k.processes(); after.Generation != k.before.Generation || after.Pid != k.before.Pid || !slices.Equal(children, k.children) {
		k.Errorf("generation %d, pid %d, processes\n%s\nbefore: generation %d, pid %d, processes\n%s", after.Generation, after.Pid,
			strings.Join(children, "\n"), k.before.Generation, k.before.Pid, strings.Join(k.children, "\n"))
	}
	for _, pid := range k.daemon.Processes() {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		k.must(err)
		role := "daemon"
		if _, after, ok := strings.Cut(strings.Trim(string(name), "\x00"), "tideover: "); ok {
			role, _, _ = strings.Cut(after, "\x00")
		}
		k.addNumbers("pss_%s=%dk", role, procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:"))
	}
	k.checkDeathAtRest(after)
}

// checkLosses fails the row for a loss that is not that of a request under way when a relay was
// killed.
func (k *relayKills) checkLosses(tally loadgen.Tally) {
	k.Helper()
	if n := tally.Losses[loadgen.Refused] + tally.Losses[loadgen.Wrong] + tally.Losses[loadgen.TimedOut] + tally.Statuses[503]; n > 0 {
		k.Errorf("%d requests were refused, answered wrongly or never ended: %s\n%s", n, tally.Ways(), strings.Join(tally.Examples, "\n"))
	}
	late := 0 // lost ones that began when no process of the relay existed
	for _, r := range k.ended {
		for i := range k.deaths {
			if d := &k.deaths[i]; !r.began.After(d.gone) && !r.ended.Before(d.killed) {
				d.open++
			}
		}
		if r.loss == "" {
			continue
		}
		i := slices.IndexFunc(k.deaths, func(d relayDeath) bool { return !r.began.After(d.replaced) && !r.ended.Before(d.killed) })
		if i < 0 {
			k.Errorf("a request is lost that was not under way when a relay died: %s", r.loss)
			continue
		}
		k.deaths[i].lost++
		if r.began.After(k.deaths[i].gone) {
			late++
		}
	}
	open, held, slowest := 0, 0, time.Duration(0)
	for i, d := range k.deaths {
		if d.lost < d.held || d.lost > d.open {
			k.Errorf("death %d: %d requests are lost, want %d that were held at least, and %d that were under way at most", i, d.lost, d.held, d.open)
		}
		open, held, slowest = open+d.open, held+d.held, max(slowest, d.answer)
	}
	k.addNumbers("kills=%d under_way=%d held=%d lost=%d lost_begun_after_death=%d first_answer=%.2fs", len(k.deaths), open, held, tally.Lost(), late, slowest.Seconds())
}

// checkCounts compares the counters with what the clients have got and what the app has begun. Every
// request of which a relay has read a byte counts as answered or cut. So the clients have lost
// cut + unread - uncounted requests. Unread are those on connections that were accepted, or kept,
// and of which no relay has read a byte. Uncounted are those whose response a relay has written, and
// which it had not counted as answered when it was killed: they count as cut.
func (k *relayKills) checkCounts(tally loadgen.Tally, after testenv.AppStatus) {
	k.Helper()
	n := map[string]int{}
	for name, value := range after.Counters {
		n[name] = value - k.before.Counters[name]
	}
	for _, name := range endings {
		if name != "answered" && name != "cut" && n[name] != 0 {
			k.Errorf("%s=%d", name, n[name])
		}
	}
	others := k.websockets + len(k.deaths) // handshakes, and requests after a death, of which none is lost
	unread, uncounted := tally.Ended+others-n["requests"], tally.Right+others-n["answered"]
	began, err := k.app.Log.BeginCounts()
	k.must(err)
	again, lostBegun := 0, 0
	for _, count := range began {
		again += count - 1
	}
	for _, r := range k.ended {
		if r.loss != "" && began[r.nonce] > 0 {
			lostBegun++
		}
	}
	k.addNumbers("cut=%d unread=%d uncounted=%d lost_begun_by_app=%d websockets=%d", n["cut"], unread, uncounted, lostBegun, k.websockets)
	if unread < 0 || unread > tally.Lost()-lostBegun {
		k.Errorf("%d requests were not read by any relay, want at most the %d lost ones that the app has not begun", unread, tally.Lost()-lostBegun)
	}
	if uncounted < 0 || uncounted > n["cut"]-lostBegun {
		k.Errorf("clients have got %d answers more than are counted; %d cut requests were not begun by the app, or answered", uncounted, n["cut"]-lostBegun)
	}
	if again > n["resent"] {
		k.Errorf("%d requests were begun again, and %d were sent again by the relay", again, n["resent"])
	}
}

// checkDeathAtRest kills the relay while it has nothing to do: no counter changes.
func (k *relayKills) checkDeathAtRest(before testenv.AppStatus) {
	k.Helper()
	relay := k.waitRelay(0)
	k.must(syscall.Kill(relay, syscall.SIGKILL))
	k.waitRelay(relay)
	if after := k.statusAtRest(); !maps.Equal(after.Counters, before.Counters) {
		k.Errorf("counters after the death of an idle relay: %v, before %v", after.Counters, before.Counters)
	}
	k.must(k.isRelease(1))
}
