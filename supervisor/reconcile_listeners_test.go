package supervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// listeningPlain is a plain process that listens on an address or a path by itself.
func listeningPlain(address string) appOption {
	port := address
	if !filepath.IsAbs(address) {
		_, port, _ = net.SplitHostPort(address)
	}
	return func(a *config.App) {
		withoutListen()(a)
		a.Command, a.Env["TESTPROGRAM"] = append(a.Command[:1:1], port), "listener"
		usedPrograms.Store("listener", true)
	}
}

// relayed gives such an app the address as its public one, and another port to the command.
func relayed(address string) appOption {
	return func(a *config.App) { a.Command, a.Listen = append(a.Command[:1:1], "{port}"), []string{address} }
}

func (w *multiApp) dryRun() api.ApplyResult {
	return w.s.Apply(context.Background(), api.ApplyRequest{DryRun: true}, func(api.Phase) {})
}

// untilAnswered waits for an answer of a process that listens by itself.
func (w *multiApp) untilAnswered(network, address string) {
	w.t.Helper()
	w.until("answered", func(api.AppStatus) bool {
		conn, err := net.Dial(network, address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func TestApplyGivesAProcessThatListensItselfItsAddressAsThePublicOne(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("shop"), named("api", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	pid := w.untilState("api", api.Running).Pid
	w.edit("api", relayed(address))
	res := w.dryRun()
	if notes := res.Apps[1].Notes; len(res.Warnings) > 0 || len(notes) != 1 || !strings.HasPrefix(notes[0], "the process of api listens on "+address+" itself and would be stopped first") {
		t.Errorf("the dry run says %q, %q", notes, res.Warnings)
	}
	if st := w.untilState("api", api.Running); st.Pid != pid {
		t.Error("the dry run has stopped it")
	}
	w.wantApplied("shop:unchanged api:replace")
	if again := pidOf(t, w.at(address).page()); again == pid {
		t.Error("the old process answers")
	}
	w.wantApplied("shop:unchanged api:unchanged")
}

// An app is renamed: the address is that of a process which is removed.
func TestApplyGivesTheAddressOfARemovedProcessToANewApp(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("old", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	renamed := w.app(named("new"))
	renamed.Listen = []string{address}
	w.change(func([]*config.App) []*config.App { return []*config.App{renamed} })
	if notes := w.dryRun().Apps[0].Notes; len(notes) != 1 || !strings.Contains(notes[0], "the process of old listens on "+address) {
		t.Errorf("the dry run says %q", notes)
	}
	w.wantApplied("new:added old:removed")
	w.at(address).page()
	if got := w.s.Apps(); len(got) != 1 || got[0] != "new" {
		t.Errorf("apps %v", got)
	}
}

// The next process would listen on the address again, because its command is not told otherwise.
func TestApplyStopsNoProcessForACommandThatWouldListenItselfAgain(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("api", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	pid := w.untilState("api", api.Running).Pid
	w.edit("api", func(a *config.App) { a.Listen = []string{address} })
	if res := w.dryRun(); len(res.Warnings) != 1 || !strings.HasPrefix(res.Warnings[0], "apply would fail: ") {
		t.Errorf("the dry run says %q", res.Warnings)
	}
	res := w.apply()
	if res.Exit != api.ExitConfig || !strings.Contains(res.Error, "{port}") || !strings.Contains(res.Error, address) {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if st := w.untilState("api", api.Running); st.Pid != pid {
		t.Errorf("pid %d became %d", pid, st.Pid)
	}
}

// An address of a process that tideover does not run is refused, and a dry run names the process.
func TestADryRunNamesTheStrangerThatHasAnAddress(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("shop"))
	w.untilState("shop", api.Running)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	blog := w.app(named("blog"))
	blog.Listen = []string{l.Addr().String()}
	w.change(func(apps []*config.App) []*config.App { return append(apps, blog) })
	if res := w.dryRun(); len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], blog.Listen[0]+" of blog is held by pid ") {
		t.Errorf("the dry run says %q", res.Warnings)
	}
	if res := w.apply(); res.Exit != api.ExitConfig {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
}

func TestApplyStopsNothingWhereAnotherAddressCannotBeOpened(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("api", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	pid := w.untilState("api", api.Running).Pid
	w.edit("api", func(a *config.App) {
		relayed(address)(a)
		a.Listen = append(a.Listen, "192.0.2.1:1") // no interface has it
	})
	if res := w.apply(); res.Exit != api.ExitConfig || !strings.Contains(res.Error, "192.0.2.1:1") {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if st := w.untilState("api", api.Running); st.Pid != pid {
		t.Errorf("pid %d became %d", pid, st.Pid)
	}
}

// Clients connect all the time. The socket of the old process is duplicated before it is stopped; its requests are
// held until the new one answers.
func TestNoConnectionIsRefusedWhileAProcessGivesItsAddressUp(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	path := filepath.Join(shortDir(t), "api.sock")
	w := openMultiApp(t, named("api", listeningPlain(address)), named("other", listeningPlain(path)))
	w.untilAnswered("tcp", address)
	w.untilAnswered("unix", path)
	possible := canDuplicate(t, address, w.untilState("api", api.Running).Pid)
	w.edit("api", relayed(address))
	w.edit("other", relayed("unix:"+path))
	var clients sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for network, at := range map[string]string{"tcp": address, "unix": path} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}}}
		clients.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				response, err := client.Get("http://shop.test/")
				if err != nil {
					accepted := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
						strings.Contains(err.Error(), "server closed idle connection") // net/http's, before it has written the request
					if possible && !accepted { // else the old process had it
						t.Error(network, err)
					}
					continue
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Error(network, response.Status)
				}
			}
		})
	}
	w.wantApplied("api:replace other:replace")
	w.at(address).page()
	stop()
	clients.Wait()
}

// canDuplicate reports whether the sockets of a child can be duplicated: some containers forbid pidfd_getfd. Then the
// address is bound when the process has closed it, and connections are refused meanwhile.
func canDuplicate(t *testing.T, address string, pid int) bool {
	t.Helper()
	sockets, err := listener.Duplicate(listener.Address{Network: "tcp", Address: address}, listener.Options{}, []int{pid})
	for _, s := range sockets {
		s.Close()
	}
	if err != nil {
		t.Log(err)
	}
	return err == nil
}

// takenMeanwhile applies the configuration. A thief listens on an address as soon as no process does; nil: the apply
// was first.
func (w *multiApp) takenMeanwhile(address string) (api.ApplyResult, net.Listener) {
	taken, stop := make(chan net.Listener, 1), make(chan struct{})
	go func() {
		tick := time.NewTicker(100 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				taken <- nil
				return
			case <-tick.C:
			}
			if l, err := net.Listen("tcp", address); err == nil {
				taken <- l
				return
			}
		}
	}()
	res := w.apply()
	close(stop)
	return res, <-taken
}

// everyInterface is the address with the port of another one on every interface. The socket of a process that listens
// on the other one is not duplicated for it, because it is not the same.
func everyInterface(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return ":" + port
}

// Another process takes the address after the old one was stopped.
func TestAnAppWhoseAddressIsTakenMeanwhileIsStartedAgainAsItWas(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("api", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	w.edit("api", relayed(everyInterface(address)))
	res, thief := w.takenMeanwhile(everyInterface(address))
	if thief == nil {
		if res.Exit != api.ExitOK { // the apply was first
			t.Errorf("exit %d: %s", res.Exit, res.Error)
		}
		return
	}
	if res.Exit == api.ExitOK || !strings.Contains(res.Error, everyInterface(address)) {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if st := w.s.Apps(); len(st) != 1 {
		t.Errorf("apps %v", st)
	}
	thief.Close()
	w.wantApplied("api:replace")
	w.at(address).page()
}

// The address was to go from a removed process to an app that runs: that one goes on with what it had.
func TestAnAppThatGetsNoMoreAddressGoesOnWithTheFormerOnes(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("shop"), named("api", listeningPlain(address)))
	w.untilAnswered("tcp", address)
	pid := w.untilState("shop", api.Running).Pid
	former := w.apps[0].Listen[0]
	w.change(func(apps []*config.App) []*config.App { return apps[:1] })
	w.edit("shop", func(a *config.App) { a.Listen = []string{everyInterface(address)} })
	res, thief := w.takenMeanwhile(everyInterface(address))
	if thief == nil {
		if res.Exit != api.ExitOK { // the apply was first
			t.Errorf("exit %d: %s", res.Exit, res.Error)
		}
		return
	}
	defer thief.Close()
	if res.Exit == api.ExitOK || !strings.Contains(res.Error, everyInterface(address)) {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if now := pidOf(t, w.at(former).page()); now != pid {
		t.Errorf("pid %d answers, want %d", now, pid)
	}
}
