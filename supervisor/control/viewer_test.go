package control

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

// startViewer returns a client that may look only, and what ends with its server.
func startViewer(t *testing.T, b Backend) (client *Client, end context.CancelFunc, ended <-chan struct{}) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	server := NewServer(&Socket{group: noGroup}, b, hclog.NewNullLogger())
	go func() {
		defer close(done)
		if err := server.ServeViewer(ctx, os.NewFile(uintptr(fds[0]), "daemon")); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	client, err = NewViewerClient(os.NewFile(uintptr(fds[1]), "viewer"))
	if err != nil {
		t.Fatal(err)
	}
	return client, cancel, done
}

func TestTheViewerSeesTheStateAndMayDoNothing(t *testing.T) {
	fake := newFake("shop")
	viewer, _, _ := startViewer(t, fake)
	for range 3 { // on one connection
		if st, err := viewer.Status(t.Context()); err != nil || len(st.Apps) != 1 {
			t.Fatalf("%v %v", st, err)
		}
		denied := func(err error) {
			t.Helper()
			var e *api.Error
			if !errors.As(err, &e) || e.Exit != api.ExitDenied {
				t.Errorf("%v", err)
			}
		}
		_, err := viewer.Do(t.Context(), api.Request{Verb: api.Stop, App: "shop"}, nil)
		denied(err)
		denied(viewer.Shutdown(t.Context(), true))
		denied(viewer.Signal(t.Context(), "shop", unix.SIGKILL))
		_, err = viewer.Check(t.Context())
		denied(err)
		_, err = viewer.Apply(t.Context(), api.ApplyRequest{}, nil)
		denied(err)
	}
	if asked := fake.notes(); len(asked) > 0 {
		t.Errorf("the supervisor was asked for %v", asked)
	}
}

func TestTheViewersServerEndsWithEitherEnd(t *testing.T) {
	viewer, end, ended := startViewer(t, newFake("shop"))
	if _, err := viewer.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	end()
	<-ended
	if _, err := viewer.Status(t.Context()); err == nil {
		t.Error("answered without a server")
	}
	viewer, _, ended = startViewer(t, newFake("shop"))
	if _, err := viewer.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	viewer.http.CloseIdleConnections()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the server goes on without its peer")
	}
}
