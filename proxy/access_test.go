package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// pollablePipe is a pipe of which both ends are non-blocking.
func pollablePipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { r.Close() })
	return r, w
}

// accessLine is a line of format "json".
type accessLine struct {
	Target, Ending, Generation string
	Status                     int
	Bytes                      int64
	Duration                   float64 `json:"duration_s"`
	Upstream                   float64 `json:"upstream_s"`
	Hold                       float64 `json:"hold_s"`
}

func nextAccessLine(t *testing.T, from *bufio.Scanner) (l accessLine) {
	t.Helper()
	if !from.Scan() {
		t.Fatal("no line: ", from.Err())
	}
	if err := json.Unmarshal(from.Bytes(), &l); err != nil {
		t.Fatalf("%v: %s", err, from.Text())
	}
	return l
}

func TestEachRequestHasALine(t *testing.T) {
	r := newHarness(t, patient, Settings{Access: AccessAll, AccessFormat: "json"})
	read, write := pollablePipe(t)
	read.SetReadDeadline(time.Now().Add(time.Minute))
	r.server.SetAccessLog(write)
	lines := bufio.NewScanner(read)
	c := r.dial().get("/held")
	r.held(1)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Name: "shop.3"}, func(k *appConn) {
		for {
			if k.request() == nil {
				return
			}
			k.answer(201, "made")
		}
	}).Target)
	c.want(201, "made")
	if l := nextAccessLine(t, lines); l.Target != "/held" || l.Status != 201 || l.Bytes != 4 || l.Ending != "answered" || l.Generation != "shop.3" ||
		l.Hold <= 0 || l.Upstream <= 0 || l.Duration < l.Hold {
		t.Errorf("%+v", l)
	}
	c.say("nonsense\n\n")
	if l := nextAccessLine(t, lines); l.Status != 400 || l.Ending != "bad_request" || l.Upstream != 0 {
		t.Errorf("%+v", l)
	}
}

func TestOnlyWhatIsAskedForHasALine(t *testing.T) {
	held := ending{held: true, status: 200, took: time.Millisecond}
	slow := ending{status: 200, took: time.Second}
	failed := ending{status: 500, took: time.Millisecond}
	cut := ending{outcome: truncated, status: 200}
	left := ending{outcome: clientLeft}
	for a, want := range map[Access][]bool{AccessOff: {false, false, false, false, false}, "": {false, false, false, false, false}, AccessAll: {true, true, true, true, true},
		AccessErrors: {false, false, true, true, false}, AccessSlow: {false, true, false, false, false}, AccessHeld: {true, false, false, false, false}} {
		for i, e := range []ending{held, slow, failed, cut, left} {
			if got := a.wants(&e, time.Second); got != want[i] {
				t.Errorf("%q, %+v: %t", a, e, got)
			}
		}
	}
}

// A supervisor that does not read costs lines, which are counted, and no request waits for it.
func TestAPipeThatIsNotReadCostsLinesAndNothingElse(t *testing.T) {
	r := newHarness(t, patient, Settings{Access: AccessAll, AccessFormat: "%(r)s"})
	read, write := pollablePipe(t)
	r.server.SetAccessLog(write)
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for {
			if k.request() == nil {
				return
			}
			k.answer(200, "ok")
		}
	}).Target)
	c, long := r.dial(), strings.Repeat("x", 4000)
	const n = 1000 // 4 MB: more than the pipe and the buffers
	for i := range n {
		c.get(fmt.Sprintf("/%d/%s", i, long)).want(200, "ok")
	}
	r.counted("all", func(c Counters) bool { return c.Answered == n })
	dropped := r.server.Metrics().AccessDropped
	if dropped == 0 || dropped >= n {
		t.Fatalf("%d lines dropped", dropped)
	}
	// What was not dropped comes as soon as it is read, in its order, and whole.
	ended := make(chan int)
	go func() {
		lines, got, last := bufio.NewScanner(read), 0, -1
		for lines.Scan() {
			var i int
			if _, err := fmt.Sscanf(lines.Text(), "GET /%d/x", &i); err != nil || i <= last {
				t.Errorf("%q after %d", lines.Text()[:min(40, len(lines.Text()))], last)
			}
			last = i
			got++
		}
		ended <- got
	}()
	r.server.SetAccessLog(nil)
	if got := <-ended; got+int(r.server.Metrics().AccessDropped) != n {
		t.Errorf("%d lines, %d dropped", got, r.server.Metrics().AccessDropped)
	}
}
