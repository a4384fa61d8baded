package gate

import "testing"

// isAsked reports whether the channel of Asked is closed.
func isAsked(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestATargetIsAskedWhenARequestPasses(t *testing.T) {
	g, target := New(Settings{Limit: 10}), NewTarget(TargetOptions{})
	g.Swap(target)
	asked := target.Asked()
	if isAsked(asked) {
		t.Fatal("asked without a request")
	}
	target.enter()
	if !isAsked(asked) {
		t.Error("a request has passed")
	}
	if !isAsked(target.Asked()) {
		t.Error("the request is in flight")
	}
	target.leave()
	if isAsked(target.Asked()) {
		t.Error("nothing is in flight any more")
	}
}

func TestASuspendedTargetIsAsked(t *testing.T) {
	target := NewTarget(TargetOptions{OnSuspend: func(*Proof) {}})
	if !isAsked(target.Asked()) {
		t.Error("it is suspended from the beginning")
	}
	proof := &Proof{}
	target.Resume(proof)
	asked := target.Asked()
	if isAsked(asked) {
		t.Error("asked without a request")
	}
	target.Suspend(proof)
	if !isAsked(asked) {
		t.Error("it was suspended")
	}
}

func TestHeardIsForgottenWhenItIsRead(t *testing.T) {
	gauges := &TargetGauges{}
	target := NewTarget(TargetOptions{Gauges: gauges})
	if gauges.TakeHeard() {
		t.Error("heard before the first byte")
	}
	target.SetHeard()
	target.SetHeard()
	if !gauges.TakeHeard() || gauges.TakeHeard() {
		t.Error("heard is to be true once")
	}
}
