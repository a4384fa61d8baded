package connlimit

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// fake is a server with a number of connections, of which some are idle.
type fake struct {
	connections, idle int
	asked             int
}

func (f *fake) Connections() int { return f.connections }

func (f *fake) Reclaim(done func(closed int)) {
	f.asked++
	closed := min(1, f.idle)
	f.idle -= closed
	f.connections -= closed
	done(closed)
}

func TestTheServerWithTheMostConnectionsClosesIdleOnesFirst(t *testing.T) {
	var log bytes.Buffer
	l := New(Options{Max: 10, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	small, large, busy := &fake{connections: 2, idle: 2}, &fake{connections: 5, idle: 1}, &fake{connections: 9}
	for _, s := range []*fake{small, large, busy} {
		l.Join(s)
	}
	retried := 0
	for range 3 {
		l.Reclaim(func() { retried++ })
	}
	if asked := []int{busy.asked, large.asked, small.asked}; !slices.Equal(asked, []int{3, 3, 2}) || retried != 3 {
		t.Errorf("asked %v times, retried %d times", asked, retried)
	}
	if small.idle != 0 || large.idle != 0 {
		t.Errorf("%d and %d are still idle", small.idle, large.idle)
	}
	for range 5 { // none is idle any more: they are not asked all the time
		l.Reclaim(func() { retried++ })
	}
	if busy.asked != 4 || retried != 3 {
		t.Errorf("asked %d times, retried %d times", busy.asked, retried)
	}
	if n := strings.Count(log.String(), "connection limit reached"); n != 2 {
		t.Errorf("%d warnings, want one for each kind:\n%s", n, log.String())
	}
	l.Leave(busy)
	if len(l.servers) != 2 {
		t.Errorf("%d servers", len(l.servers))
	}
}

// fill opens descriptors until the next one has at least a number.
func fill(t *testing.T, number int) {
	t.Helper()
	for {
		fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if fd >= number-1 {
			return
		}
	}
}

func TestDescriptorsAreLeftForEverythingElse(t *testing.T) {
	l := New(Options{Descriptors: 400, Apps: 1})
	if reserve := Reserve(400, 1); reserve != 80 || l.bounds.Load().dialMax != 320 || l.bounds.Load().acceptMax != 270 || l.Max() != 270 {
		t.Fatalf("%d, %d, %d", reserve, l.bounds.Load().dialMax, l.bounds.Load().acceptMax)
	}
	fill(t, 269)
	if !l.HasRoom(2) {
		t.Error("no room below the limit")
	}
	fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || fd != 269 {
		t.Fatal(fd, err)
	}
	if l.Opened(fd); !l.HasRoom(2) {
		t.Error("the limit is not known to be reached yet")
	}
	last, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || last != 270 {
		t.Fatal(last, err)
	}
	if l.Opened(last); l.HasRoom(2) {
		t.Error("there is room above the limit")
	}
	if !l.MayDial(last) || !l.MayDial(319) || l.MayDial(320) {
		t.Error("connections to the apps have the wrong bound")
	}
	unix.Close(fd)
	if last = l.Settle(last); last != fd {
		t.Errorf("the connection has number %d, though %d is free", last, fd)
	}
	if l.HasRoom(2) {
		t.Error("there is room above the limit")
	}
	unix.Close(last)
	l.Closed()
	if !l.HasRoom(2) {
		t.Error("no room although a number is free")
	}
}

func TestALimiterCountsConnections(t *testing.T) {
	l := New(Options{Max: 2, Descriptors: 1 << 20})
	for fd := range 2 {
		if !l.HasRoom(2) {
			t.Fatalf("no room for number %d", fd)
		}
		l.Opened(100 + fd)
	}
	if l.HasRoom(2) || l.Open() != 2 || l.Max() != 2 {
		t.Errorf("%d of %d, room: %v", l.Open(), l.Max(), l.HasRoom(2))
	}
	l.Closed()
	if !l.HasRoom(2) {
		t.Error("no room")
	}
	if large := New(Options{Max: 1000, Descriptors: 400}); large.Max() >= 400 {
		t.Errorf("%d connections of 400 descriptors", large.Max())
	}
	var none *Limiter
	if none.Opened(5); !none.HasRoom(2) || !none.MayDial(1<<20) || none.Max() != 0 || none.Settle(7) != 7 {
		t.Error("a nil limiter has a limit")
	}
	none.Reclaim(func() {})
	none.Join(&fake{})
	none.Leave(&fake{})
	none.Closed()
}

// silent is a server that has ended without an answer.
type silent struct{ fake }

func (s *silent) Reclaim(func(closed int)) { s.asked++ }

func TestAServerThatEndsWhileItIsAskedDelaysTheOthersOnly(t *testing.T) {
	l := New(Options{Max: 10})
	gone, other := &silent{fake{connections: 9}}, &fake{connections: 1, idle: 1}
	l.Join(gone)
	l.Join(other)
	l.Reclaim(func() {})
	l.Leave(gone)
	retried := false
	for deadline := time.Now().Add(10 * askTimeout); !retried && time.Now().Before(deadline); runtime.Gosched() {
		l.Reclaim(func() { retried = true })
	}
	if !retried || gone.asked != 1 || other.asked != 1 {
		t.Errorf("retried: %v, asked %d and %d times", retried, gone.asked, other.asked)
	}
}
