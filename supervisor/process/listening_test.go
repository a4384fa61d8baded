package process

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Every socket that could get a connection to 127.0.0.1:PORT is found, and no other one.
func TestEverySocketThatMayGetALoopbackConnectionIsFound(t *testing.T) {
	for _, c := range []struct {
		network, host string
		found         bool
	}{
		{"tcp4", "127.0.0.1", true}, {"tcp4", "0.0.0.0", true}, {"tcp", "::", true}, {"tcp6", "::", true},
		{"tcp4", "127.0.0.2", false}, {"tcp6", "::1", false},
	} {
		t.Run(c.network+" "+c.host, func(t *testing.T) {
			l, err := net.Listen(c.network, net.JoinHostPort(c.host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			port := l.Addr().(*net.TCPAddr).Port
			conn, err := net.Dial("tcp", l.Addr().String()) // no listener
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			found, err := ListeningOnLoopback(port)
			if err != nil || (len(found) == 1) != c.found || len(found) > 1 {
				t.Fatalf("%+v, %v", found, err)
			}
			if !c.found {
				return
			}
			holders, err := holdersAmong([]int{os.Getpid()}, []uint64{found[0].Inode, 1})
			holder, ok := holders[found[0].Inode]
			if err != nil || !ok || len(holders) != 1 || holder.PID != os.Getpid() || !holder.IsOpen() || int(found[0].UID) != os.Geteuid() {
				t.Errorf("%+v held by %+v, %v", found, holders, err)
			}
			l.Close()
			if holder.IsOpen() {
				t.Error("open after the close")
			}
			if found, err := ListeningOnLoopback(port); len(found) > 0 || err != nil {
				t.Errorf("after the close: %+v, %v", found, err)
			}
		})
	}
}

// startAs starts a sleeping process of another user that has f open.
func startAs(t *testing.T, uid uint32, f *os.File) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = nil
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestTheHolderOfASocketIsFoundAmongTheProcessesOfEveryUser(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	found, err := ListeningOnLoopback(l.Addr().(*net.TCPAddr).Port)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	pid := startAs(t, 1000, f)
	l.Close()
	f.Close()
	if got := HolderOf(found[0].Inode); got != pid {
		t.Errorf("held by %d, want %d", got, pid)
	}
	if got := HolderOf(1); got != 0 {
		t.Errorf("an inode of no socket is held by %d", got)
	}
}

// A daemon in a container often is root without CAP_SYS_PTRACE.
func TestUnreadableDescriptorsAreAnError(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pid := startAs(t, 33, f)
	if os.Geteuid() != 0 {
		pid = 1 // of root
	}
	checked := make(chan error)
	go func() {
		runtime.LockOSThread() // without an unlock: the thread ends with its capabilities
		dropPtrace()
		_, err := holdersAmong([]int{pid}, []uint64{1})
		checked <- err
	}()
	if err := <-checked; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want %v", err, fs.ErrPermission)
	}
}

// dropPtrace drops CAP_SYS_PTRACE of the calling thread.
func dropPtrace() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) == nil {
		data[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
		unix.Capset(&header, &data[0])
	}
}

func TestATreeHoldsItsSocketsAndNoOthers(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var inodes []uint64
	for _, l := range []net.Listener{l, other} {
		found, err := ListeningOnLoopback(l.Addr().(*net.TCPAddr).Port)
		if err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		inodes = append(inodes, found[0].Inode)
	}
	k := launch(t, newCgroup, Spec{Listen: []*os.File{f}}, "sleep")
	k.line(t)
	holders, err := k.Holders(inodes)
	if err != nil || len(holders) != 1 || holders[inodes[0]].PID != k.Pid() {
		t.Errorf("%+v, %v; want %s in %d", holders, err, strconv.FormatUint(inodes[0], 10), k.Pid())
	}
	k.Kill(context.Background())
	if holders[inodes[0]].IsOpen() || slices.Contains(k.Members(), k.Pid()) {
		t.Error("open after the end of the process")
	}
}
