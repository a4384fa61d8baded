package process

import "testing"

func TestTransitions(t *testing.T) {
	events := []event{execed, failed, stopRequested, killed, exited, empty}
	want := map[State][]State{ // one column for each event
		Starting: {Running, Gone, Starting, Starting, Starting, Starting},
		Running:  {Running, Running, Stopping, Killing, Exited, Running},
		Stopping: {Stopping, Stopping, Stopping, Killing, Exited, Stopping},
		Killing:  {Killing, Killing, Killing, Killing, Killing, Gone},
		Exited:   {Exited, Exited, Exited, Killing, Exited, Gone},
		Gone:     {Gone, Gone, Gone, Gone, Gone, Gone},
	}
	for s := Starting; s <= Gone; s++ {
		for i, e := range events {
			if got := s.after(e); got != want[s][i] {
				t.Errorf("%v after event %d: %v, want %v", s, e, got, want[s][i])
			}
		}
	}
}

func TestEveryTreeCanEnd(t *testing.T) {
	for s := Starting + 1; s <= Gone; s++ {
		if end := s.after(killed).after(exited).after(empty); end != Gone {
			t.Errorf("%v ends as %v", s, end)
		}
	}
}
