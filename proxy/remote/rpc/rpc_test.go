package rpc

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// whole is a Set whose every field has a value.
func whole() remote.Set {
	var s remote.Set
	fill(reflect.ValueOf(&s).Elem())
	return s
}

// fill gives every exported field a value that is not zero.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *netip.Prefix:
		*x = netip.MustParsePrefix("10.1.0.0/16")
		return
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("[2001:db8::1]:443")
		return
	case *time.Time:
		*x = time.Unix(1_800_000_000, 123).UTC()
		return
	case **os.File:
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("Übergröße \x01 <&>")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic("a message has a field of type " + v.Type().String())
	}
}

func filled[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem())
	return v
}

func TestEveryFieldOfAMessageArrives(t *testing.T) {
	c, r := connect(t)
	r.with(func() {
		r.applied, r.mark, r.held, r.answer, r.final = filled[remote.Applied](), filled[remote.Mark](), filled[remote.Held](), filled[remote.ProbeAnswer](), filled[remote.Counters]()
		r.description = filled[remote.Description]()
	})
	close(r.blocked)
	ctx := t.Context()
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", what, err, got, want)
		}
	}
	set := whole()
	applied, err := c.Set(ctx, set)
	check("the answer to Set", applied, r.applied, err)
	check("Set", r.last(), set, nil)

	mark, err := c.Mark(ctx, 3)
	check("the answer to Mark", mark, r.mark, err)
	check("Mark", r.last(), remote.AppID(3), nil)
	since := filled[remote.Since]()
	check("the answer to Since", c.Since(ctx, since), r.held, nil)
	check("Since", r.last(), since, nil)

	probe := filled[remote.Probe]()
	answer, err := c.Probe(ctx, probe)
	check("the answer to Probe", answer, r.answer, err)
	check("Probe", r.last(), probe, nil)

	check("Await", any(filled[remote.Await]()), func() any { err = c.Await(ctx, filled[remote.Await]()); return r.last() }(), err)
	check("Cut", any(filled[remote.Cut]()), func() any { err = c.Cut(ctx, filled[remote.Cut]()); return r.last() }(), err)
	reclaimed, err := c.Gone(ctx, filled[remote.ID]())
	check("the answer to Gone", reclaimed, 7, err)
	check("Gone", r.last(), filled[remote.ID](), nil)
	check("Reclaim", any(filled[remote.Reclaim]()), func() any { err = c.Reclaim(ctx, filled[remote.Reclaim]()); return r.last() }(), err)
	check("Prove", any(filled[remote.Proof]()), func() any { err = c.Prove(ctx, filled[remote.Proof]()); return r.last() }(), err)
	final, err := c.Remove(ctx, 5)
	check("the answer to Remove", final, r.final, err)
	check("Remove", r.last(), remote.AppID(5), nil)
	settings := filled[remote.Settings]()
	check("Configure", any(settings), func() any { err = c.Configure(ctx, settings); return r.last() }(), err)
	check("Announce", any("announced"), func() any { err = c.Announce(ctx); return r.last() }(), err)
	check("End", any("ended"), func() any { err = c.End(ctx); return r.last() }(), err)
	check("Shut", any(uint64(6)), func() any { err = c.Shut(ctx, 6); return r.last() }(), err)
	check("Retire", any("retired"), func() any { err = c.Retire(ctx); return r.last() }(), err)
	description, err := c.Describe(ctx)
	check("the answer to Describe", description, r.description, err)
	check("Turn", nil, nil, c.Turn(ctx))
}

// nil and empty mean different things in Settings.Trusted.
func TestAnEmptyListIsNotNone(t *testing.T) {
	c, r := connect(t)
	for _, trusted := range [][]netip.Prefix{nil, {}} {
		var s remote.Set
		s.Settings.Trusted = trusted
		if _, err := c.Set(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got := r.last().(remote.Set).Settings.Trusted; (got == nil) != (trusted == nil) {
			t.Errorf("%#v became %#v", trusted, got)
		}
	}
}

func TestADoorIsTheSameSocket(t *testing.T) {
	c, r := connect(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := openDescriptors(t)
	if err := c.Open(t.Context(), remote.Door{Door: 1, App: 2, Socket: f}); err != nil {
		t.Fatal(err)
	}
	var inode uint64
	r.with(func() { inode = r.inode })
	if inode != inodeOf(int(f.Fd())) || r.last() != (remote.Door{Door: 1, App: 2}) {
		t.Errorf("%+v arrived, with another socket", r.last())
	}
	r.with(func() { r.err = errSocket })
	if err := c.Open(t.Context(), remote.Door{Door: 1, App: 2, Socket: f}); err == nil || err.Error() != errSocket.Error() || errors.Is(err, remote.ErrEnded) {
		t.Errorf("got %v", err)
	}
	wantDescriptors(t, before)
}

func TestYieldedConnectionsAreAdmitted(t *testing.T) {
	c, r := connect(t)
	const n = 1000
	var inodes []uint64
	var connected []remote.Connection
	for range n {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fds[1])
		known := filled[remote.Connection]()
		known.FD = fds[0]
		connected, inodes = append(connected, known), append(inodes, inodeOf(fds[0]))
	}
	r.with(func() { r.connections = connected })
	before := openDescriptors(t)
	all, err := c.Yield(t.Context(), 1)
	if err != nil || len(all) != n {
		t.Fatalf("%d connections, %v", len(all), err)
	}
	if err := c.Admit(t.Context(), remote.Admission{App: 2, Connections: all}); err != nil {
		t.Fatal(err)
	}
	admitted := r.last().(remote.Admission)
	defer closeConnections(admitted.Connections)
	for i, got := range admitted.Connections {
		want := connected[i]
		want.FD = got.FD
		if !reflect.DeepEqual(got, want) || inodeOf(got.FD) != inodes[i] {
			t.Fatalf("connection %d is %+v", i, got)
		}
	}
	wantDescriptors(t, before) // the relay has given its own away
}

func TestAnEndedWaitIsForgottenByTheRelay(t *testing.T) {
	c, r := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Await(ctx, remote.Await{What: remote.Finished}) }()
	cut := func() { // a call that waits delays no other
		if err := c.Cut(t.Context(), remote.Cut{}); err != nil {
			t.Fatal(err)
		}
	}
	for !r.wasAsked(remote.Await{What: remote.Finished}) {
		cut()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for !r.wasAsked("forgotten") {
		cut()
	}
}

func (r *recorder) wasAsked(question any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.asked, question)
}

// What a relay that has ended was to wait for is lost, so that waits come true; changes fail.
func TestARelaysEndFulfilsWaitsAndFailsChanges(t *testing.T) {
	c, _ := connect(t)
	waited, turned := make(chan error), make(chan error)
	go func() { waited <- c.Await(t.Context(), remote.Await{What: remote.Finished}) }()
	go func() { turned <- c.Turn(t.Context()) }()
	c.Close()
	if err := <-waited; err != nil {
		t.Errorf("Await: %v", err)
	}
	if err := <-turned; !errors.Is(err, remote.ErrEnded) {
		t.Errorf("Turn: %v", err)
	}
	if _, err := c.Set(t.Context(), remote.Set{}); !errors.Is(err, remote.ErrEnded) {
		t.Errorf("Set: %v", err)
	}
	if held := c.Since(t.Context(), remote.Since{}); !held.Partial {
		t.Errorf("Since: %+v", held)
	}
	if !errors.Is(c.Err(), remote.ErrEnded) {
		t.Errorf("Err: %v", c.Err())
	}
}

// proverOf is a Prover that reports the lost proofs.
type proverOf struct {
	lost  chan uint64
	holds atomic.Bool
}

func (p *proverOf) Lost(proof uint64) { p.lost <- proof }
func (p *proverOf) Holds(uint64) bool { return p.holds.Load() }

func TestTheRelayReachesTheProverOfItsGeneration(t *testing.T) {
	c, r := connect(t)
	id := remote.ID{App: 3, Generation: 4}
	p := &proverOf{lost: make(chan uint64, 1)}
	c.SetProver(id, p)
	if _, err := c.Set(t.Context(), remote.Set{App: 3, Target: &remote.Target{Generation: 4, NeedsProof: true}}); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	theirs := r.provers[id]
	r.mu.Unlock()
	theirs.Lost(9)
	if got := <-p.lost; got != 9 {
		t.Errorf("proof %d is lost", got)
	}
	if theirs.Holds(9) {
		t.Error("a proof holds that does not")
	}
	p.holds.Store(true)
	if !theirs.Holds(9) {
		t.Error("a proof does not hold that does")
	}
	c.Close()
	p.holds.Store(false)
	if !theirs.Holds(9) {
		t.Error("without a supervisor a proof is not taken for granted")
	}
}

func TestARelayAsksForItsReplacement(t *testing.T) {
	r := &recorder{blocked: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	started := make(chan *Supervisor, 1)
	c := connectTo(t, func(s Start) Process {
		started <- s.Supervisor
		return r
	})
	supervisor := <-started
	select {
	case <-c.Replace():
		t.Fatal("it has not asked")
	default:
	}
	for range 3 {
		supervisor.Replace()
	}
	<-c.Replace()
	supervisor.Replace()
	if err := c.Cut(t.Context(), remote.Cut{}); err != nil { // the channel stays
		t.Error(err)
	}
}

// What the relay sends is not believed.
func TestAHostileRelayIsGivenUpOrGetsAnError(t *testing.T) {
	for name, hostile := range map[string]func(*channel.Request){
		"no JSON":             func(r *channel.Request) { r.Answer([]byte("{{{")) },
		"another type":        func(r *channel.Request) { r.Answer([]byte(`{"connections":[{"fd":"x"}],"version":"x"}`)) },
		"a large answer":      func(r *channel.Request) { r.Answer(make([]byte, maxFromRelay+1)) },
		"files not asked for": func(r *channel.Request) { f, _ := os.Open(os.DevNull); r.Answer([]byte("{}"), f) },
		"too deep":            func(r *channel.Request) { r.Answer(append(make([]byte, 0), nested(20_000)...)) },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs, err := channel.Pair()
			if err != nil {
				t.Fatal(err)
			}
			relay, err := channel.New(theirs, channel.Options{Handler: hostile})
			if err != nil {
				t.Fatal(err)
			}
			defer relay.Close()
			c, err := NewClient(ours, 1, newPage(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Set(t.Context(), remote.Set{}); err == nil {
				t.Error("the answer to Set is believed")
			}
		})
	}
}

func TestConnectionsWithoutADescriptorOfTheirOwnAreRefused(t *testing.T) {
	for _, fds := range [][]int{{-1}, {1}, {0, 0}, {1 << 40}} {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		before := openDescriptors(t) - 1
		var packed []remote.Connection
		for _, fd := range fds {
			packed = append(packed, remote.Connection{FD: fd})
		}
		if _, err := unpackConnections(packed, []*os.File{f}); err == nil {
			t.Errorf("%v is taken", fds)
		}
		wantDescriptors(t, before)
	}
}

func nested(depth int) []byte {
	body := []byte(`{"x":`)
	for range depth {
		body = append(body, '[')
	}
	return body
}

// Any body of any method gets an answer and harms nothing.
func FuzzServe(f *testing.F) {
	for method := methodSet; method <= methodYield; method++ {
		f.Add(method, encode(whole()))
		f.Add(method, []byte(`{"app":1,"door":2,"connections":[{"fd":0},{"fd":0}]}`))
	}
	r := &recorder{blocked: make(chan struct{}), provers: map[remote.ID]remote.Prover{}}
	close(r.blocked)
	ours, theirs, err := channel.Pair()
	if err != nil {
		f.Fatal(err)
	}
	go Serve(theirs, nil, func(Start) (Process, any, error) { return r, none{}, nil })
	c, err := channel.New(ours, channel.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	if _, err := c.Call(f.Context(), channel.Call{Method: methodStart, Body: encode(none{}), Files: []*os.File{newPage(f).File()}}); err != nil {
		f.Fatal(err)
	}
	before := openDescriptors(f)
	f.Fuzz(func(t *testing.T, method uint16, body []byte) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Call(t.Context(), channel.Call{Method: method, Body: body, Files: []*os.File{null}})
		if errors.Is(err, channel.ErrEnded) {
			t.Errorf("the channel has ended: %v", err)
		}
		if r.takeAdmitted(); openDescriptors(t) > before+8 {
			t.Errorf("%d descriptors are open, %d at the start", openDescriptors(t), before)
		}
	})
}
