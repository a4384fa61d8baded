package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAMessageOfAnySizeArrivesWhole(t *testing.T) {
	p := startPeer(t, Options{})
	for _, size := range []int{0, 1, maxFrameBody - 1, maxFrameBody, maxFrameBody + 1, 212_960, 5 << 20} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		if got := p.call(methodEcho, body).Body; !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
	}
	if _, err := p.Call(t.Context(), Call{Body: make([]byte, MaxMessage+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a message beyond the limit: %v", err)
	}
	p.call(methodEcho, nil)
}

func TestCallsOfManyGoroutinesGetTheirOwnAnswers(t *testing.T) {
	p := startPeer(t, Options{})
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			for j := range 5 {
				text := bytes.Repeat(fmt.Appendf(nil, "%d.%d ", i, j), 1+rand.IntN(20_000))
				a, err := p.Call(t.Context(), Call{Method: methodEcho, Body: text})
				if err != nil || !bytes.Equal(a.Body, text) {
					t.Errorf("call %d.%d: %v", i, j, err)
				}
			}
		})
	}
	callers.Wait()
}

func TestAFailureHasItsCodeAndText(t *testing.T) {
	p := startPeer(t, Options{})
	_, err := p.Call(t.Context(), Call{Method: methodFail, Body: []byte("no such app")})
	var f *Failure
	if !errors.As(err, &f) || f.Code != CodeOwn || f.Text != "no such app" {
		t.Errorf("got %v", err)
	}
}

func TestFourteenThousandDescriptorsArrive(t *testing.T) {
	p := startPeer(t, Options{})
	if got := p.number(methodCount, repeat(devNull(t), 14_000)...); got != 14_000 {
		t.Errorf("%d descriptors have arrived", got)
	}
}

func TestDescriptorsGoBothWaysAtOnce(t *testing.T) {
	received := make(chan int, 100)
	p := startPeer(t, Options{MaxFiles: MaxMessageFiles, Handler: func(r *Request) {
		received <- len(r.Files)
		closeFiles(r.Files)
		r.Answer(nil)
	}})
	var callers sync.WaitGroup
	for range 10 {
		f := devNull(t)
		callers.Go(func() {
			if a, err := p.Call(t.Context(), Call{Method: methodReflect, Files: repeat(f, 1000)}); err != nil || string(a.Body) != "<nil>" {
				t.Errorf("%s %v", a.Body, err)
			}
		})
	}
	callers.Wait()
	for range 10 {
		if n := <-received; n != 1000 {
			t.Errorf("%d descriptors came back", n)
		}
	}
}

func TestAnAnswerWithMoreThanTheCallerExpectsEndsTheChannel(t *testing.T) {
	for name, call := range map[string]Call{
		"descriptors": {Method: methodEcho, Files: repeat(devNull(t), 3), AnswerFiles: 2},
		"bytes":       {Method: methodEcho, Body: make([]byte, 101), AnswerBody: 100},
	} {
		p := startPeer(t, Options{})
		if _, err := p.Call(t.Context(), call); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReceivedDescriptorsAreNotInherited(t *testing.T) {
	p := startPeer(t, Options{})
	a, err := p.Call(t.Context(), Call{Method: methodEcho, Files: repeat(devNull(t), 1), AnswerFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer closeFiles(a.Files)
	if len(a.Files) != 1 {
		t.Fatalf("%d descriptors came back", len(a.Files))
	}
	flags, err := unix.FcntlInt(a.Files[0].Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %d, %v", flags, err)
	}
}

func TestAReceiverWithoutFreeNumbersSaysSoAndGoesOn(t *testing.T) {
	p := startPeer(t, Options{})
	before := p.number(methodOpen)
	p.call(methodNofile, binary.LittleEndian.AppendUint32(nil, 64))
	for _, n := range []int{100, 700} { // in one frame, and in several
		if _, err := p.Call(t.Context(), Call{Method: methodCount, Files: repeat(devNull(t), n)}); !errors.Is(err, ErrDescriptors) {
			t.Errorf("%d descriptors: %v", n, err)
		}
	}
	if got := p.number(methodCount, repeat(devNull(t), 20)...); got != 20 {
		t.Errorf("%d of 20 descriptors have arrived afterwards", got)
	}
	if after := p.number(methodOpen); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func TestAClosedFileFailsItsCallAndNoOther(t *testing.T) {
	p := startPeer(t, Options{})
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	files := append(repeat(devNull(t), 300), closed) // the second frame cannot be sent
	if _, err := p.Call(t.Context(), Call{Method: methodCount, Files: files}); err == nil || errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
	before := p.number(methodOpen)
	if got := p.number(methodCount, devNull(t)); got != 1 {
		t.Errorf("%d descriptors have arrived", got)
	}
	if after := p.number(methodOpen); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func TestAForgottenCallIsCancelledAtThePeer(t *testing.T) {
	p := startPeer(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	done := make(chan error)
	go func() {
		_, err := p.Call(ctx, Call{Method: methodNever})
		done <- err
	}()
	p.call(methodEcho, nil)
	cancel(stopped)
	if err := <-done; !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	for deadline := time.Now().Add(30 * time.Second); p.number(methodForgot) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the peer was not told")
		}
	}
	waitUntil(t, func() bool { return len(p.slots) == 0 })
}

func TestAKilledPeerFailsAllItsCalls(t *testing.T) {
	for range 5 {
		p := startPeer(t, Options{})
		failed := make(chan error)
		const callers = 50
		for i := range callers {
			go func() {
				_, err := p.Call(t.Context(), Call{Method: methodNever, Body: make([]byte, i<<12), Files: repeat(devNull(t), i)})
				failed <- err
			}()
		}
		for range rand.IntN(20) {
			p.call(methodEcho, nil)
		}
		p.signal(syscall.SIGKILL)
		for range callers {
			if err := <-failed; !errors.Is(err, ErrEnded) {
				t.Errorf("got %v", err)
			}
		}
		<-p.Done()
		if _, err := p.Call(t.Context(), Call{Method: methodEcho}); !errors.Is(err, ErrEnded) || !errors.Is(p.Err(), ErrEnded) {
			t.Errorf("a later call: %v, the channel: %v", err, p.Err())
		}
	}
}

// The kernel reports ECONNRESET first when the peer dies with unread packets.
func TestWhatAPeerHasSentBeforeItsDeathArrives(t *testing.T) {
	for range 10 {
		called := make(chan struct{}, 1)
		p := startPeer(t, Options{Handler: func(r *Request) { called <- struct{}{} }})
		p.call(methodEcho, nil)
		p.stop() // so that the calls below are unread when it dies
		const callers = 20
		answered := make(chan error, callers)
		for range callers {
			go func() {
				_, err := p.Call(t.Context(), Call{Method: methodSelfKill})
				answered <- err
			}()
		}
		waitUntil(t, func() bool { return len(p.slots) == callers })
		p.signal(syscall.SIGCONT)
		good := 0
		for range callers {
			if err := <-answered; err == nil {
				good++
			} else if !errors.Is(err, ErrEnded) {
				t.Error(err)
			}
		}
		if good != 1 {
			t.Fatalf("%d answers have arrived, 1 was sent", good)
		}
		<-called
	}
}

func TestAStoppedPeerBlocksNoCallerForEver(t *testing.T) {
	p := startPeer(t, Options{WriteTimeout: 500 * time.Millisecond})
	p.call(methodEcho, nil)
	p.stop()
	defer p.signal(syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Call(ctx, Call{Method: methodEcho}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call with a timeout: %v", err)
	}
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			if _, err := p.Call(t.Context(), Call{Method: methodEcho, Body: make([]byte, 1<<20)}); !errors.Is(err, ErrNotReading) || !errors.Is(err, ErrEnded) {
				t.Errorf("got %v", err)
			}
		})
	}
	callers.Wait()
}

func TestAStoppedPeerThatGoesOnHasMissedNothing(t *testing.T) {
	p := startPeer(t, Options{})
	p.call(methodEcho, nil)
	p.stop()
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			body := make([]byte, 1<<20)
			if a, err := p.Call(t.Context(), Call{Method: methodEcho, Body: body}); err != nil || len(a.Body) != len(body) {
				t.Error(err)
			}
		})
	}
	waitUntil(t, func() bool { return len(p.slots) == 20 })
	p.signal(syscall.SIGCONT)
	callers.Wait()
}

func TestCloseFailsCallsAndLeavesNothing(t *testing.T) {
	before := len(openDescriptors())
	p := startPeer(t, Options{})
	failed := make(chan error)
	go func() {
		_, err := p.Call(t.Context(), Call{Method: methodNever})
		failed <- err
	}()
	p.call(methodEcho, nil)
	p.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) || !errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
	p.process.Wait() // it ends with its channel
	p.process.Release()
	if after := len(openDescriptors()); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func TestOnlyASeqpacketSocketIsAChannel(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	if _, err := New(os.NewFile(uintptr(fds[0]), "stream"), Options{}); err == nil || !strings.Contains(err.Error(), "SEQPACKET") {
		t.Errorf("got %v", err)
	}
}

// waitUntil polls a state of this process that nothing announces.
func waitUntil(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it never came to that")
		}
	}
}
