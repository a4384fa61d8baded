package proxy

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// twoNetworks runs a test with an app behind each kind of socket.
func twoNetworks(t *testing.T, set Settings, script func(*appConn), run func(*harness)) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := newHarness(t, patient, set)
			app := (*testApp)(nil)
			if network == "unix" {
				app = r.newTestApp(gate.TargetOptions{}, script)
			} else {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				app = r.newTestAppOn(l, gate.TargetOptions{}, script)
			}
			r.gate.Swap(app.Target)
			run(r)
		})
	}
}

// The body comes in pieces of any size, some of them after a pause, and its end is not aligned to
// anything.
func TestASplicedUploadArrivesWhole(t *testing.T) {
	twoNetworks(t, Settings{}, hash, func(r *harness) {
		c := r.dial()
		for _, size := range []int{splicedBody - 1, splicedBody, splicedBody + 1, 1<<20 + 4095, 5 << 20} {
			body := randomBytes(size)
			go func() {
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
				for piece, left := 1, body; len(left) > 0; piece = piece*2 + 1 {
					n := min(piece, len(left))
					c.Write(left[:n])
					if left = left[n:]; n == 255 || n == 65535 {
						pause := time.NewTimer(2 * directWriteTimeout)
						<-pause.C
					}
				}
			}()
			c.want(200, fmt.Sprintf("%d %x", size, sha256.Sum256(body)))
			c.get("/next").want(200, "0 ")
		}
	})
}

// takesSlowly reads the body in small pieces with pauses, so that the app's socket is full and the
// pipe has to wait.
func takesSlowly(k *appConn) {
	for req := k.request(); req != nil; req = k.request() {
		h, n := sha256.New(), int64(0)
		for {
			m, err := io.CopyN(h, req.Body, 300_000)
			if n += m; err == io.EOF {
				break
			} else if err != nil {
				return
			}
			pause := time.NewTimer(directWriteTimeout)
			<-pause.C
		}
		k.answer(200, fmt.Sprintf("%d %x", n, h.Sum(nil)))
	}
}

// Further uploads than there are pipes are copied, and every pipe is closed.
func TestUploadsAtOnceShareThePipesThereAre(t *testing.T) {
	const size = 1<<20 + 777
	twoNetworks(t, Settings{}, takesSlowly, func(r *harness) {
		before := openPipes(r)
		body := randomBytes(size)
		r.server.app.pipes.Store(maxPipes - 4)
		var clients sync.WaitGroup
		for range 12 {
			c := r.dial()
			clients.Go(func() {
				fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, body)
				if all, err := io.ReadAll(c); err != nil {
					t.Errorf("%q, %v", all, err)
				}
				c.Close()
			})
		}
		clients.Wait()
		r.counted("all answered", func(c Counters) bool { return c.Answered == 12 })
		if n := r.server.app.pipes.Swap(0); n != maxPipes-4 {
			t.Errorf("%d pipes are counted as open", n-(maxPipes-4))
		}
		r.eventually("as many pipes as before", func() bool { return openPipes(r) <= before })
	})
}

// openPipes is how many descriptors of pipes this process has.
func openPipes(r *harness) (pipes int) {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		r.Fatal(err)
	}
	for _, fd := range all {
		if target, _ := os.Readlink("/proc/self/fd/" + fd.Name()); len(target) > 5 && target[:5] == "pipe:" {
			pipes++
		}
	}
	return pipes
}

// A client that leaves while its body is in a pipe, which the app does not take, is noticed, and the
// app sees no complete request.
func TestAClientThatLeavesDuringASplicedUpload(t *testing.T) {
	took, cut := make(chan struct{}), make(chan error, 1)
	twoNetworks(t, Settings{}, func(k *appConn) {
		body := k.content()
		io.CopyN(io.Discard, body, splicedPiece)
		took <- struct{}{}
		<-took
		_, err := io.Copy(io.Discard, body)
		cut <- err
	}, func(r *harness) {
		c := r.dial()
		go fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", 64<<20, make([]byte, 16<<20))
		<-took
		r.eventually("a pipe", func() bool { return r.server.app.pipes.Load() == 1 })
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		r.counted("left", func(c Counters) bool { return c.ClientLeft == 1 })
		took <- struct{}{}
		if err := <-cut; err == nil {
			t.Error("the app has got a complete body")
		}
		r.eventually("no pipe", func() bool { return r.server.app.pipes.Load() == 0 })
	})
}

// An app that answers early ends the upload, also while a piece is in the pipe.
func TestAnEarlyAnswerToASplicedUpload(t *testing.T) {
	twoNetworks(t, Settings{}, func(k *appConn) {
		io.CopyN(io.Discard, k.content(), splicedPiece)
		k.answer(413, "too much")
	}, func(r *harness) {
		c := r.dial()
		go fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", 16<<20, make([]byte, 16<<20))
		if res := c.want(413, "too much"); !res.Close {
			t.Error("the connection stays open")
		}
		r.eventually("no pipe", func() bool { return r.server.app.pipes.Load() == 0 })
	})
}
