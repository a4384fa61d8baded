package supervisor

import (
	"testing"

	"tideover/supervisor/api"
)

func TestStatusShowsHowFarAnOperationHasCome(t *testing.T) {
	t.Parallel()
	r := open(t, "sequential")
	r.page()
	r.until("its request is counted", func(s api.AppStatus) bool {
		n := uint64(0)
		for _, bucket := range s.Durations {
			n += bucket
		}
		return n > 0 && s.Operation == nil
	})
	busy := r.slow()
	done := make(chan api.Result, 1)
	go func() { done <- r.do(api.Restart) }()
	st := r.until("the restart waits for the request in flight", func(s api.AppStatus) bool {
		return s.Operation != nil && s.Operation.Phase != "" && len(s.Draining) == 1
	})
	if o := st.Operation; o.Verb != api.Restart || o.Generation.From != 1 || o.Duration < o.PhaseTime {
		t.Errorf("operation %+v", o)
	}
	busy.finish()
	res := r.want(<-done, api.ExitOK)
	if st := r.status(); st.Operation != nil || st.LastReload.Generation != res.Generation {
		t.Errorf("after it: operation %+v, last %+v", st.Operation, st.LastReload)
	}
}
