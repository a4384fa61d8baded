package channel

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startRaw returns a channel, and the other end of its socket to send it packets.
func startRaw(t testing.TB, o Options) (*Channel, int) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	c, err := New(ours, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		unix.Close(raw)
	})
	return c, raw
}

func frameOf(h header, body string) []byte { return append(h.appendTo(nil), body...) }

func answerAll(r *Request) {
	closeFiles(r.Files)
	r.Answer(nil)
}

func TestWhatNoCorrectPeerSendsEndsTheChannel(t *testing.T) {
	call := header{kind: kindCall, call: 1}
	more := header{kind: kindCall, call: 1, flags: flagMore}
	with := func(h header, change func(*header)) header { change(&h); return h }
	for name, hostile := range map[string]struct {
		packets [][]byte
		files   int // descriptors with each packet
	}{
		"shorter than a header":             {packets: [][]byte{frameOf(call, "")[:headerSize-1]}},
		"another version":                   {packets: [][]byte{{0: 9, headerSize: 0}}},
		"a header that is too short":        {packets: [][]byte{{0: version, 1: headerSize - 1, 100: 0}}},
		"a header longer than the packet":   {packets: [][]byte{{0: version, 1: 200, 100: 0}}},
		"a frame body beyond the limit":     {packets: [][]byte{frameOf(call, string(make([]byte, maxFrameBody+1)))}},
		"a packet that was truncated":       {packets: [][]byte{frameOf(call, string(make([]byte, 100<<10)))}},
		"a message beyond the limit":        {packets: [][]byte{frameOf(more, string(make([]byte, 800))), frameOf(more, string(make([]byte, 800)))}},
		"a message within another":          {packets: [][]byte{frameOf(more, ""), frameOf(with(more, func(h *header) { h.call = 2 }), "")}},
		"an answer within a call":           {packets: [][]byte{frameOf(more, ""), frameOf(with(more, func(h *header) { h.kind = kindAnswer }), "")}},
		"descriptors not announced":         {packets: [][]byte{frameOf(call, "")}, files: 1},
		"descriptors of an acknowledgement": {packets: [][]byte{frameOf(header{kind: kindAck, files: 1}, "")}, files: 1},
		"descriptors of a cancellation":     {packets: [][]byte{frameOf(header{kind: kindCancel, files: 1}, "")}, files: 1},
		"more descriptors than allowed":     {packets: [][]byte{frameOf(with(call, func(h *header) { h.files = 3 }), "")}, files: 3},
		"too many descriptors announced":    {packets: [][]byte{frameOf(with(call, func(h *header) { h.files = maxFrameFiles + 1 }), "")}},
		"acknowledgements of nothing":       {packets: [][]byte{frameOf(header{kind: kindAck}, ""), frameOf(header{kind: kindAck}, "")}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(openDescriptors())
			c, raw := startRaw(t, Options{Handler: answerAll, MaxBody: 1000, MaxFiles: 2})
			null := devNull(t)
			opened := len(openDescriptors()) - before
			for _, packet := range hostile.packets {
				var rights []byte
				if hostile.files > 0 {
					fds := make([]int, hostile.files)
					for i := range fds {
						fds[i] = int(null.Fd())
					}
					rights = unix.UnixRights(fds...)
				}
				unix.Sendmsg(raw, packet, rights, nil, 0)
			}
			select {
			case <-c.Done():
			case <-time.After(30 * time.Second):
				t.Fatal("the channel goes on")
			}
			if err := c.Err(); !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrEnded) {
				t.Errorf("got %v", err)
			}
			c.Close()
			if now := len(openDescriptors()); now > before+opened {
				t.Errorf("%d descriptors have leaked", now-before-opened)
			}
		})
	}
}

// An older version reads the header that it knows, and skips kinds that it does not know.
func TestFramesOfALaterMinorVersionAreUnderstood(t *testing.T) {
	received := make(chan string, 1)
	_, raw := startRaw(t, Options{Handler: func(r *Request) {
		received <- string(r.Body)
		r.Answer(nil)
	}})
	unix.Sendmsg(raw, frameOf(header{kind: 99, call: 7}, "unknown"), nil, nil, 0)
	h := header{kind: kindCall, call: 1}
	longer := h.appendTo(nil)
	longer[1] += 8
	longer = append(longer, "appendedbody"...)
	unix.Sendmsg(raw, longer, nil, nil, 0)
	if got := <-received; got != "body" {
		t.Errorf("the body is %q", got)
	}
}

func TestACallOfAReplacedProcessIsNotExecuted(t *testing.T) {
	executed := make(chan *Request, 10)
	_, raw := startRaw(t, Options{Handler: func(r *Request) { executed <- r }})
	send := func(epoch, call uint64) {
		unix.Sendmsg(raw, frameOf(header{kind: kindCall, epoch: epoch, call: call}, ""), nil, nil, 0)
	}
	send(1, 1)
	former := <-executed
	send(2, 1) // the same number in another epoch
	successor := <-executed
	<-former.Context().Done()
	send(1, 2)
	send(2, 2)
	if r := <-executed; r.id.epoch != 2 {
		t.Errorf("a call of epoch %d was executed", r.id.epoch)
	}
	if successor.Context().Err() != nil {
		t.Error("the call of the successor was forgotten")
	}
}

func TestAnAnswerOfAnotherEpochIsDropped(t *testing.T) {
	c, raw := startRaw(t, Options{Epoch: 2})
	done := make(chan Answer)
	go func() {
		a, err := c.Call(t.Context(), Call{})
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	packet := make([]byte, 1<<10)
	n, err := unix.Read(raw, packet)
	for errors.Is(err, unix.EAGAIN) {
		n, err = unix.Read(raw, packet)
	}
	h, _, err := parseFrame(packet[:n])
	if err != nil || h.epoch != 2 {
		t.Fatalf("%+v %v", h, err)
	}
	h.kind, h.epoch = kindAnswer, 1
	unix.Sendmsg(raw, frameOf(h, "old"), nil, nil, 0)
	h.epoch = 2
	unix.Sendmsg(raw, frameOf(h, "new"), nil, nil, 0)
	if a := <-done; string(a.Body) != "new" {
		t.Errorf("the answer is %q", a.Body)
	}
}

// A peer that never answers can keep MaxCalls calls from being made, and no more than that.
func TestForgottenCallsAreBounded(t *testing.T) {
	c, _ := startRaw(t, Options{})
	for range MaxCalls {
		c.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, Call{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) != 0 || len(c.replies) != 0 {
		t.Errorf("%d calls and %d replies are kept", len(c.open), len(c.replies))
	}
}

func TestAPeerThatCallsWithoutReadingAnswersIsBounded(t *testing.T) {
	c, raw := startRaw(t, Options{Handler: answerAll})
	for call := uint64(1); c.Err() == nil; {
		err := unix.Sendmsg(raw, frameOf(header{kind: kindCall, call: call}, ""), nil, nil, 0)
		if err == nil {
			call++
		}
		if call > 100*MaxCalls {
			t.Fatal("everything was taken")
		}
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	h := header{kind: kindCall, flags: flagMore, code: 3, files: 2, epoch: 4, call: 5, generation: 6}
	f.Add(frameOf(h, "body"))
	f.Add([]byte{version, 200})
	f.Fuzz(func(t *testing.T, packet []byte) {
		h, body, err := parseFrame(packet)
		if err != nil {
			return
		}
		again, rest, err := parseFrame(frameOf(h, string(body)))
		if err != nil || again != h || string(rest) != string(body) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

// With any packets the channel does not panic, every call returns, and no descriptor is lost.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0}, uint8(1))
	f.Add([]byte{1, 0, 1, 1, 1, 0, 1, 0, 2, 0, 1, 0}, uint8(0))
	f.Fuzz(func(t *testing.T, script []byte, files uint8) {
		before := len(openDescriptors())
		c, raw := startRaw(t, Options{Handler: answerAll, MaxBody: 200, MaxFiles: 3, WriteTimeout: time.Second})
		null := devNull(t)
		held := len(openDescriptors()) - before
		done := make(chan struct{})
		go func() {
			defer close(done)
			a, _ := c.Call(t.Context(), Call{Method: 1})
			closeFiles(a.Files)
		}()
		for len(script) >= 4 {
			h := header{kind: kind(script[0] % 8), flags: script[1] & 1, call: uint64(script[2] % 4), epoch: uint64(script[2] / 128), files: uint16(script[3] % 5)}
			fds := make([]int, min(int(h.files), int(files%6)))
			for i := range fds {
				fds[i] = int(null.Fd())
			}
			packet := frameOf(h, string(script[4:min(len(script), 4+int(script[3]))]))
			packet[0] ^= script[1] >> 7
			unix.Sendmsg(raw, packet, unix.UnixRights(fds...), nil, 0)
			script = script[4:]
		}
		unix.Shutdown(raw, unix.SHUT_WR)
		<-done
		c.Close()
		if now := len(openDescriptors()); now > before+held-1 {
			t.Errorf("%d descriptors have leaked", now-before-held+1)
		}
	})
}
