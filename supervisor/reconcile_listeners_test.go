package supervisor

import (
	"context"
	"net"
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// listeningPlain is a plain process that listens on an address by itself.
func listeningPlain(address string) appOption {
	_, port, _ := net.SplitHostPort(address)
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
func (w *multiApp) untilAnswered(address string) {
	w.t.Helper()
	w.until("answered", func(api.AppStatus) bool {
		conn, err := net.Dial("tcp", address)
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
	w.untilAnswered(address)
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
	w.untilAnswered(address)
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
	w.untilAnswered(address)
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
	w.untilAnswered(address)
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

// Another process takes the address after the old one was stopped.
func TestAnAppWhoseAddressIsTakenMeanwhileIsStartedAgainAsItWas(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	w := openMultiApp(t, named("api", listeningPlain(address)))
	w.untilAnswered(address)
	w.edit("api", relayed(address))
	taken, stop := make(chan net.Listener, 1), make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				taken <- nil
				return
			default:
			}
			if l, err := net.Listen("tcp", address); err == nil {
				taken <- l
				return
			}
		}
	}()
	res := w.apply()
	close(stop)
	thief := <-taken
	if thief == nil {
		if res.Exit != api.ExitOK { // the apply was first
			t.Errorf("exit %d: %s", res.Exit, res.Error)
		}
		return
	}
	if res.Exit == api.ExitOK || !strings.Contains(res.Error, address) {
		t.Errorf("exit %d: %s", res.Exit, res.Error)
	}
	if st := w.s.Apps(); len(st) != 1 {
		t.Errorf("apps %v", st)
	}
	thief.Close()
	w.wantApplied("api:replace")
	w.at(address).page()
}
