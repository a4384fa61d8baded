//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A deploy user of socket_group, with a uid of its own, may reload, hold,
// release and look, and nothing else; another user may nothing; and what they
// try loses no request.
func TestDeployUser(t *testing.T) {
	r := begin(t)
	const group, nobody = 4711, 65534
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 0.2}, gunicorn: testenv.Gunicorn{Workers: 2}, config: "[daemon]\nsocket_group = \"4711\"\n"})
	binary := s.env.Path("tideover") // where it was built may be closed to others
	content, err := os.ReadFile(testenv.Binary(s.env.Root))
	r.must(err)
	r.must(os.WriteFile(binary, content, 0o755))
	as := func(groups []uint32, words string) (int, string) {
		ctx := s.timeout(operationTimeout)
		cmd := exec.CommandContext(ctx, binary, append([]string{"-S", s.daemon.Socket}, strings.Fields(strings.ReplaceAll(words, "shop", s.daemon.App))...)...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: groups}}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			r.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), out.String()
	}
	s.startLoad(20)
	allowed, denied := 0, 0
	for _, c := range []struct {
		words string
		may   bool
	}{
		{"status", true}, {"status shop", true}, {"logs -n 5 shop", true}, {"hold shop --for 5s", true}, {"release shop", true},
		{"hold shop -- true", true}, {"reload shop", true},
		{"restart shop", false}, {"stop shop", false}, {"start shop", false}, {"signal shop TTIN", false}, {"apply", false}, {"shutdown", false},
	} {
		want := map[bool]int{true: 0, false: 4}[c.may]
		if code, out := as([]uint32{group}, c.words); code != want {
			s.Errorf("a member: %s: exit %d, want %d: %s", c.words, code, want, out)
		}
		if c.may {
			allowed++
		} else {
			denied++
		}
		if code, out := as(nil, c.words); code != 4 {
			s.Errorf("a stranger: %s: exit %d, want 4: %s", c.words, code, out)
		}
		denied++
	}
	status, err := s.daemon.Status(s.timeout(10 * time.Second))
	r.must(err)
	if status.State != "running" || status.Generation != 2 {
		s.Errorf("%s is %s in generation %d, want running in 2", status.Name, status.State, status.Generation)
	}
	s.finish()
	s.addNumbers("allowed=%d denied=%d", allowed, denied)
}
