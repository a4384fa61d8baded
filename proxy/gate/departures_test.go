package gate

import (
	"testing"
	"testing/synctest"
	"time"
)

// Two workers take 1 s for a request. Six requests come at once: the last two are accepted after 2 s.
func TestARequestIsAcceptedWhenAWorkerIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, time.Minute))
		target := NewTarget(TargetOptions{Concurrency: 2, Bounded: true})
		g.Swap(target)
		sent := time.Now()
		var all []*asker
		for range 6 {
			a, v := ask(g, "")
			if v.Outcome != Passed {
				t.Fatal(v)
			}
			all = append(all, a)
		}
		for i := range 4 {
			if i%2 == 0 {
				time.Sleep(time.Second)
			}
			g.Done(target, true)
		}
		for i, want := range []time.Duration{0, 0, time.Second, time.Second, 2 * time.Second, 2 * time.Second} {
			if got := target.AcceptedAt(all[i].Turn(), sent).Sub(sent); got != want {
				t.Errorf("request %d: accepted after %v, want %v", i, got, want)
			}
		}
		if got := target.AcceptedAt(all[5].Turn(), sent.Add(time.Hour)); !got.Equal(sent.Add(time.Hour)) {
			t.Error("accepted before it was written")
		}
	})
}

// Of a target that works on any number, or of which the number is not known, all are accepted at once.
func TestAnUnboundedTargetAcceptsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, time.Minute))
		target := NewTarget(TargetOptions{Concurrency: 1})
		g.Swap(target)
		sent := time.Now()
		ask(g, "first")
		second, _ := ask(g, "second")
		time.Sleep(time.Second)
		g.Done(target, true)
		if got := target.AcceptedAt(second.Turn(), sent); !got.Equal(sent) {
			t.Errorf("accepted after %v", got.Sub(sent))
		}
	})
}

// The samples are few, however many requests leave: the moment may be too early by an interval, and
// never too late.
func TestDeparturesKeepTheLastSeconds(t *testing.T) {
	var d departures
	begun := time.Unix(1000, 0)
	const rate = 100 // a second
	for i := range 60 * rate {
		d.add(begun.Add(time.Duration(i) * time.Second / rate))
	}
	for _, ago := range []time.Duration{0, time.Second, 5 * time.Second} {
		turn := 60*rate - int(ago.Seconds()*rate)
		left := begun.Add(time.Duration(turn-1) * time.Second / rate)
		if got := left.Sub(d.before(turn)); got < 0 || got > departureInterval {
			t.Errorf("%v ago: too early by %v", ago, got)
		}
	}
	if got := d.before(rate); !got.IsZero() {
		t.Errorf("a departure a minute ago is known: %v", got)
	}
}
