package handoff

import "testing"

// A restoration that was not completed counts for the next one, until one is complete.
func TestRestorationsThatFailAreCounted(t *testing.T) {
	slots, f, err := NewSlots()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := slots.Write([]byte(`{"version":1}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{0, 1, 2} {
		next, record, err := OpenRecord(f)
		if err != nil || record == nil {
			t.Fatal(record, err)
		}
		if failures, err := next.BeginRestoration(); err != nil || failures != want {
			t.Fatal(failures, err, "want", want)
		}
		if want == 2 {
			if err := next.EndRestoration(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if failures, err := slots.BeginRestoration(); err != nil || failures != 0 {
		t.Fatal(failures, err)
	}
}

// A record that cannot be restored loses its processes, and keeps sockets and settings.
func TestARecordWithoutProcessesKeepsSocketsAndSettings(t *testing.T) {
	r := &Record{Version: RecordVersion, Relays: []RelayRecord{{Number: 1}}, Apps: map[string]*AppRecord{"1": {Name: "shop", Settings: "c1", Desired: Stopped,
		Listeners: []ListenerRecord{{Address: "unix:/s", Sockets: []Socket{{Socket: "listener/s"}}}}, Generations: []*GenerationRecord{{Token: "t"}}, Operation: &Operation{}}}}
	bare := r.WithoutProcesses()
	plan := Restore(bare, []Child{{Token: "t", Pid: 7}}, []string{"listener/s", "shop/1/socket"}, nil)
	a := bare.Apps["1"]
	if len(plan.End) != 1 || len(plan.Drop) != 1 || plan.Drop[0] != "shop/1/socket" || a.Settings != "c1" || a.Desired != Stopped || len(r.Apps["1"].Generations) != 1 {
		t.Errorf("%+v, %+v", plan, a)
	}
}
