package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peerVariable makes the test binary a peer: a process that serves the channel on descriptor 3.
const peerVariable = "TIDEOVER_TEST_CHANNEL_PEER"

// Methods of the peer.
const (
	methodEcho     = iota + 1 // answers body and descriptors
	methodNever               // answers when the caller has forgotten it
	methodForgot              // answers how many calls were forgotten
	methodOpen                // answers how many descriptors the process has open
	methodCount               // closes the descriptors, and answers how many there were
	methodNofile              // sets the limit of descriptors to the number in the body
	methodSelfKill            // calls, answers, and is killed at once
	methodFail                // fails with the text in the body
	methodReflect             // sends each descriptor back in calls of its own, then answers
)

func TestMain(m *testing.M) {
	if os.Getenv(peerVariable) != "" {
		runPeer()
		return
	}
	os.Exit(m.Run())
}

// runPeer serves until the other process closes the channel.
func runPeer() {
	var forgotten atomic.Int64
	var c *Channel
	ready := make(chan struct{})
	handle := func(r *Request) {
		<-ready
		switch r.Method {
		case methodEcho:
			r.Answer(r.Body, r.Files...)
		case methodNever:
			go func() {
				<-r.Context().Done()
				forgotten.Add(1)
				r.Fail(CodeOwn, "forgotten")
			}()
		case methodForgot:
			r.Answer([]byte(strconv.FormatInt(forgotten.Load(), 10)))
		case methodOpen:
			r.Answer([]byte(strconv.Itoa(len(openDescriptors()))))
		case methodCount:
			n := len(r.Files)
			closeFiles(r.Files)
			r.Answer([]byte(strconv.Itoa(n)))
		case methodNofile:
			n := uint64(binary.LittleEndian.Uint32(r.Body))
			err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
			r.Answer(fmt.Append(nil, err))
		case methodSelfKill:
			for _, h := range []header{{kind: kindCall, call: 1}, {kind: kindAnswer, epoch: r.id.epoch, call: r.id.call}} {
				c.conn.Write(h.appendTo(nil))
			}
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case methodFail:
			r.Fail(CodeOwn, string(r.Body))
		case methodReflect:
			go func() {
				_, err := c.Call(r.Context(), Call{Method: methodEcho, Files: r.Files})
				r.Answer(fmt.Append(nil, err))
			}()
		}
	}
	c, err := New(os.NewFile(3, "channel"), Options{Handler: handle, MaxFiles: MaxMessageFiles})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	close(ready)
	<-c.Done()
}

// peer is another process with a channel to it.
type peer struct {
	*Channel
	t       *testing.T
	process *os.Process
}

func startPeer(t *testing.T, o Options) *peer {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), peerVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	c, err := New(ours, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &peer{c, t, cmd.Process}
}

// call calls the peer and fails the test when that fails.
func (p *peer) call(method uint16, body []byte, files ...*os.File) Answer {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 60*time.Second)
	defer cancel()
	a, err := p.Call(ctx, Call{Method: method, Body: body, Files: files})
	if err != nil {
		p.t.Fatalf("method %d: %v", method, err)
	}
	return a
}

// number is the number that the peer answers.
func (p *peer) number(method uint16, files ...*os.File) int {
	p.t.Helper()
	n, err := strconv.Atoi(string(p.call(method, nil, files...).Body))
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *peer) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop stops the peer, and returns when it is stopped.
func (p *peer) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	waitUntil(p.t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.process.Pid))
		return err == nil && bytes.Contains(stat, []byte(") T "))
	})
}

// openDescriptors lists the descriptors of this process, without the one that lists them.
func openDescriptors() []string {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	return slices.DeleteFunc(names, func(name string) bool { return name == strconv.Itoa(int(dir.Fd())) })
}

func devNull(t *testing.T) *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// repeat is one file n times.
func repeat(f *os.File, n int) []*os.File { return slices.Repeat([]*os.File{f}, n) }
