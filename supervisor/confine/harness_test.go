package confine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// roleVariable holds, in a process that this test has started, what it is to do.
const roleVariable = "CONFINE_TEST_ROLE"

// testRole is what a confined process of a test does.
type testRole struct {
	Options Options
	Without []string // system calls that fail with ENOSYS, as on a kernel that does not have them
	Do      string   // a key of inside
	Args    []string
}

// report is what it has found.
type report struct {
	Measures []Measure
	Err      string            // of Confine
	Found    map[string]string // by what was tried; "": it worked
}

func (r *report) note(what string, err error) {
	r.Found[what] = ""
	if err != nil {
		r.Found[what] = err.Error()
	}
}

func TestMain(m *testing.M) {
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var role testRole
	if err := json.Unmarshal([]byte(text), &role); err != nil {
		panic(err)
	}
	if len(role.Without) > 0 {
		runtime.LockOSThread()
		if err := refuse(role.Without); err != nil {
			panic(err)
		}
	}
	r := report{Found: map[string]string{}}
	measures, err := Confine(role.Options)
	r.Measures = measures
	if err != nil {
		r.Err = err.Error()
	}
	out := json.NewEncoder(os.Stdout)
	out.Encode(r)
	if err == nil {
		inside[role.Do](&r, role.Args)
		out.Encode(r)
	}
	io.Copy(io.Discard, os.Stdin) // until the test has looked at this process
}

// refuse makes system calls fail with ENOSYS.
func refuse(names []string) error {
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls:      []seccomp.SyscallGroup{{Names: names, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)}},
	}})
}

// roleProcess is a confined process of a test.
type roleProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	log syncBuffer
}

// syncBuffer is what a role writes to its standard error.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start starts a role. It ends with the test.
func start(t *testing.T, role testRole, change ...func(*exec.Cmd)) *roleProcess {
	t.Helper()
	text, err := json.Marshal(role)
	if err != nil {
		t.Fatal(err)
	}
	p := &roleProcess{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = &p.log
	for _, c := range change {
		c(p.cmd)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	p.out = json.NewDecoder(out)
	return p
}

// report waits for what the role has found.
func (p *roleProcess) report(t *testing.T) report {
	t.Helper()
	if r := p.next(t); r.Err != "" {
		return r
	}
	return p.next(t)
}

// next waits for the role's next report: the first one comes when it is confined.
func (p *roleProcess) next(t *testing.T) report {
	t.Helper()
	var r report
	if err := p.out.Decode(&r); err != nil {
		p.cmd.Wait()
		t.Fatalf("the role ended: %v\n%s", err, p.log.String())
	}
	return r
}

// unprivileged is a user without an account.
var unprivileged = &User{61001, 61001}

// rolesUser is the user of the roles of a test: nil if the test is not run by root.
func rolesUser() *User {
	if mayChangeUser() {
		return unprivileged
	}
	return nil
}

// jail makes a directory that only the roles' user may use.
func jail(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jail") // shorter than t.TempDir: it has sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if u := rolesUser(); u != nil {
		if err := os.Chown(dir, 0, u.GID); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func describe(all []Measure) (text string) {
	for _, m := range all {
		text += fmt.Sprintf("%s: %v %s\n", m.Name, m.Holds, m.Reason)
	}
	return text
}
