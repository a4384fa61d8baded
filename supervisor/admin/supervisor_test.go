package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
	"tideover/supervisor/xmlrpc"
)

func (b *backend) Programs(bool) ([]api.Program, error) {
	return []api.Program{{App: "shop", Group: "shop", Name: "shop", State: api.Running, Pid: 11}}, nil
}

func (b *backend) ClearLog(string) error { return nil }

// call calls a method of supervisord.
func (h *harness) call(address, user, password, method string, params ...any) (any, error) {
	h.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://admin/RPC2", bytes.NewReader(xmlrpc.Request(xmlrpc.Call{Method: method, Params: params})))
	if err != nil {
		h.Fatal(err)
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	answer, err := client(address).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		return answer.StatusCode, errors.New(answer.Status)
	}
	return xmlrpc.ReadResponse(answer.Body, 1<<20)
}

func TestClientsOfSupervisordAreAnsweredWithTheirRights(t *testing.T) {
	h := newHarness(t, "")
	path := filepath.Join(shortDir(t), "supervisor.sock")
	to := Addresses{Admin: freeAddress(t), Socket: path, HTTP: freeAddress(t), SocketMode: 0o660, SocketUID: -1, SocketGID: -1, Supervisor: Supervisor{Identifier: "here"}}
	if os.Geteuid() == 0 {
		to.SocketUID, to.SocketGID = 33, 61012
	}
	faultCode := func(err error) int {
		var f *xmlrpc.Fault
		if errors.As(err, &f) {
			return f.Code
		}
		return 0
	}
	h.set(to)
	if status, _ := h.get(to.Admin, "/-/live"); status != 200 {
		t.Errorf("the admin address: %d", status)
	}
	for _, address := range []string{"unix:" + path, to.HTTP} {
		if v, err := h.call(address, "", "", "supervisor.getIdentification"); v != "here" {
			t.Errorf("%s: %v %v", address, v, err)
		}
	}
	if v, err := h.call("unix:"+path, "", "", "supervisor.clearProcessLogs", "shop"); v != true {
		t.Errorf("on the socket: %v %v", v, err)
	}
	if v, err := h.call(to.HTTP, "", "", "supervisor.clearProcessLogs", "shop"); faultCode(err) != 30 {
		t.Errorf("without a password: %v %v", v, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info, err)
	}
	if st := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (st.Uid != 33 || st.Gid != 61012) {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	if err := confine.Verify(h.pid(), confine.Options{User: h.user, Root: h.jail}); err != nil {
		t.Error(err)
	}

	to.Supervisor.User, to.Supervisor.Password = "deploy", "secret"
	former := h.pid()
	h.set(to)
	h.pid(former)
	if v, err := h.call(to.HTTP, "deploy", "secret", "supervisor.clearProcessLogs", "shop"); v != true {
		t.Errorf("with the password: %v %v", v, err)
	}
	for _, password := range []string{"", "other"} {
		if v, _ := h.call(to.HTTP, "deploy", password, "supervisor.getState"); v != 401 {
			t.Errorf("with %q: %v", password, v)
		}
	}
	if v, err := h.call("unix:"+path, "", "", "supervisor.clearProcessLogs", "shop"); v != true {
		t.Errorf("the password is asked for on the socket: %v %v", v, err)
	}
	to.Supervisor.SocketAuth = true
	former = h.pid()
	h.set(to)
	h.pid(former)
	if v, _ := h.call("unix:"+path, "", "", "supervisor.getState"); v != 401 {
		t.Errorf("the password is not asked for on the socket: %v", v)
	}
}

func TestTheProcessMayNoMoreThanItsAddressesNeed(t *testing.T) {
	with := Supervisor{User: "deploy", Password: "secret"}
	for want, all := range map[control.Access][]Addresses{
		control.Look:    {{}, {Admin: ":1"}},
		control.Read:    {{HTTP: ":1"}, {Admin: ":1", HTTP: ":2"}},
		control.Operate: {{Admin: ":1", Fleet: Fleet{Etcd: []string{"http://127.0.0.1:2379"}}}, {HTTP: ":1", Fleet: Fleet{Etcd: []string{"http://127.0.0.1:2379"}}}},
		control.Drive:   {{HTTP: ":1", Supervisor: with}, {Socket: "/a"}, {Socket: "/a", HTTP: ":1"}},
	} {
		for _, a := range all {
			if got := a.needed(); got != (control.Rights{Access: want, Fleet: a.Fleet.on()}) {
				t.Errorf("%+v: %v, want %v", a, got, want)
			}
		}
	}
}

// supervisord still has its addresses while the apps are moved.
func TestAnAddressForSupervisorctlThatIsInUseIsOpenedLater(t *testing.T) {
	h := newHarness(t, "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := Addresses{Admin: freeAddress(t), HTTP: taken.Addr().String(), SocketUID: -1, SocketGID: -1}
	if _, err := h.keeper.Prepare(to, false); err == nil {
		t.Error("an apply accepts an address that is in use")
	}
	change, err := h.keeper.Prepare(to, true)
	if err != nil {
		t.Fatal(err)
	}
	change.Commit()
	if status, _ := h.get(to.Admin, "/-/live"); status != 200 {
		t.Errorf("status %d", status)
	}
	if change, err = h.keeper.Prepare(to, false); err != nil { // another apply, meanwhile
		t.Errorf("an apply that does not concern it: %v", err)
	} else {
		change.Commit()
	}
	taken.Close()
	for range 3000 {
		if v, err := h.call(to.HTTP, "", "", "supervisor.getAPIVersion"); err == nil && v == "3.0" {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Error("it is not opened")
}

// An address that stays in use for hours does not start the process again each second.
func TestAnAddressThatIsStillInUseChangesNothing(t *testing.T) {
	k := NewKeeper(Options{Logger: hclog.NewNullLogger(), Confinement: func() (confine.Options, error) { return confine.Options{}, nil }})
	t.Cleanup(func() { k.set(Addresses{}, bound{}) })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	change, err := k.Prepare(Addresses{Admin: freeAddress(t), HTTP: taken.Addr().String()}, true)
	if err != nil {
		t.Fatal(err)
	}
	change.Commit()
	<-k.changed
	k.tryMissing()
	if len(k.changed) != 0 || len(k.sockets) != 1 || len(k.inUse) != 1 {
		t.Errorf("changed %d, %d sockets, tried again %d", len(k.changed), len(k.sockets), len(k.inUse))
	}
	taken.Close()
	k.tryMissing()
	if len(k.changed) != 1 || len(k.sockets) != 2 || k.missing {
		t.Errorf("changed %d, %d sockets, missing %t", len(k.changed), len(k.sockets), k.missing)
	}
}

// set applies addresses.
func (h *harness) set(to Addresses) {
	h.Helper()
	change, err := h.keeper.Prepare(to, false)
	if err != nil {
		h.Fatal(err)
	}
	change.Commit()
}

// await calls a function until it returns nil.
func (h *harness) await(done func() error) {
	h.Helper()
	var err error
	for range 6000 {
		if err = done(); err == nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	h.Fatal(err)
}

// answers reports whether a client reaches the process on the unix socket.
func (h *harness) answers(path string) error {
	v, err := h.call("unix:"+path, "", "", "supervisor.getAPIVersion")
	if err == nil && v != "3.0" {
		err = fmt.Errorf("%v", v)
	}
	return err
}

// access is the mode and the owner of a file.
func access(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%o %d:%d", info.Mode().Perm(), st.Uid, st.Gid)
}

func socketAddresses(path string) Addresses {
	to := Addresses{Socket: path, SocketMode: 0o660, SocketUID: -1, SocketGID: -1}
	if os.Geteuid() == 0 {
		to.SocketUID, to.SocketGID = 33, 61012
	}
	return to
}

// tmpreaper, rm and another supervisord remove the file. What the process answers goes on.
func TestAUnixSocketWhoseFileIsRemovedIsBoundAgain(t *testing.T) {
	h := newHarness(t, "")
	dir := shortDir(t)
	path := filepath.Join(dir, "supervisor.sock")
	to := socketAddresses(path)
	to.Admin = "unix:" + filepath.Join(dir, "admin.sock")
	h.set(to)
	h.await(func() error { return h.answers(path) })
	pid, before := h.pid(), access(path)
	descriptors := func() int {
		all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // none where the kernel does not show them
		return len(all)
	}
	few := descriptors()
	for range 5 {
		open, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{path, filepath.Join(dir, "admin.sock")} {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		h.await(func() error { return h.answers(path) })
		h.await(func() error {
			answer, err := client(to.Admin).Get("http://admin/-/live")
			if err == nil {
				answer.Body.Close()
			}
			return err
		})
		open.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(open, "GET /none HTTP/1.0\r\n\r\n"); err != nil {
			t.Error(err)
		}
		if text, err := io.ReadAll(open); err != nil || len(text) == 0 {
			t.Errorf("a connection from before: %q %v", text, err)
		}
		open.Close()
		if after := access(path); after != before {
			t.Errorf("the file is %s, it was %s", after, before)
		}
	}
	if h.pid() != pid {
		t.Error("another process answers")
	}
	h.await(func() error {
		if now := descriptors(); now > few {
			return fmt.Errorf("%d descriptors, there were %d: the former sockets stay open", now, few)
		}
		return nil
	})
}

func TestASocketOfAnotherProcessAtThePathStaysAndIsReplacedWhenItIsGone(t *testing.T) {
	h := newHarness(t, "")
	path := filepath.Join(shortDir(t), "supervisor.sock")
	h.set(socketAddresses(path))
	h.await(func() error { return h.answers(path) })
	other, err := net.Listen("unix", path+".other")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	h.await(func() error {
		if !strings.Contains(h.log.String(), "cannot bind admin socket again") {
			return errors.New("nothing is logged")
		}
		return nil
	})
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	to := socketAddresses(path)
	to.HTTP = freeAddress(t)
	h.set(to) // an apply, meanwhile
	other.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h.await(func() error { return h.answers(path) })
}

func TestAnApplyChangesTheModeAndTheOwnerOfTheSocket(t *testing.T) {
	h := newHarness(t, "")
	path := filepath.Join(shortDir(t), "supervisor.sock")
	to := socketAddresses(path)
	h.set(to)
	h.await(func() error { return h.answers(path) })
	to.SocketMode = 0o600
	want := fmt.Sprintf("600 %d:%d", os.Geteuid(), os.Getegid())
	if os.Geteuid() == 0 {
		to.SocketUID, to.SocketGID, want = 61013, 61014, "600 61013:61014"
	}
	former := h.pid()
	h.set(to)
	h.pid(former)
	h.await(func() error { return h.answers(path) })
	if got := access(path); got != want {
		t.Errorf("the file is %s, want %s", got, want)
	}
}
