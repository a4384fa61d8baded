package proxy

import (
	"net"
	"testing"

	"tideover/proxy/gate"
)

// pollUntilWait polls as an event loop does, where the poll number found finds an event; 0: none does.
// It returns how often it polled before it waited.
func (b *briefPoll) pollUntilWait(roundTrips, found int) (polls int) {
	for b.again(roundTrips) {
		polls++
		if polls == found {
			b.polled(1)
			return polls
		}
		b.polled(0)
	}
	return polls
}

func TestBriefPollsEndWhereTheyFindNothing(t *testing.T) {
	b := briefPoll{credit: maxCredit}
	polls := 0
	const waits = 10_000
	for range waits {
		polls += b.pollUntilWait(maxBriefRoundTrips, 0)
	}
	if polls > waits {
		t.Errorf("%d polls before %d waits", polls, waits)
	}
	// One in three is not enough. Three polls cost 3 % of a wait.
	b, polls = briefPoll{credit: maxCredit}, 0
	for i := range waits {
		found := 0
		if i%3 == 0 {
			found = 5
		}
		polls += b.pollUntilWait(maxBriefRoundTrips, found)
	}
	if polls > 3*waits {
		t.Errorf("%d polls before %d waits of which every third would soon be over", polls, waits)
	}
}

func TestBriefPollsGoOnWhereTheyFindSomething(t *testing.T) {
	var b briefPoll
	avoided := 0
	const waits = 10_000
	for i := range waits {
		found := 5
		if i%4 == 0 {
			found = 0
		}
		if b.pollUntilWait(2, found) == found && found > 0 {
			avoided++
		}
	}
	if avoided < waits/2 {
		t.Errorf("%d of %d waits were avoided", avoided, waits)
	}
}

func TestOneRequestAndManyAreWaitedForWithoutPolling(t *testing.T) {
	b := briefPoll{credit: maxCredit}
	for _, roundTrips := range []int{0, 1, maxBriefRoundTrips + 1} {
		if n := b.pollUntilWait(roundTrips, 0); n > 0 {
			t.Errorf("%d polls with %d round trips", n, roundTrips)
		}
	}
}

// However requests end, the loop knows how many are out.
func TestRoundTripsAreCounted(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	release := make(chan struct{})
	child := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		for {
			switch req := k.request(); {
			case req == nil || req.URL.Path == "/broken":
				return
			case req.URL.Path == "/slow":
				<-release
			}
			k.answer(200, "hello")
		}
	})
	r.gate.Swap(child.Target)
	out := func() (n int) {
		r.server.startedLoop().call(func() { n = r.server.startedLoop().roundTrips })
		return n
	}
	r.dial().get("/").want(200, "hello")
	r.dial().get("/broken").want(502, "")
	r.dial().say("PUT / HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody").want(200, "hello")
	slow, leaving := r.dial().get("/slow"), r.dial().get("/slow")
	r.eventually("both are out", func() bool { return out() == 2 })
	leaving.Conn.(*net.TCPConn).SetLinger(0)
	leaving.Close()
	r.eventually("one is out", func() bool { return out() == 1 })
	close(release)
	slow.want(200, "hello")
	r.eventually("none is out", func() bool { return out() == 0 && child.InFlight() == 0 })
}
