package process

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 136898 3133440"
	for _, name := range []string{"(cat)", "(a b)", "(a) S 9 9 9 (b)", "()", "(\xff\n)"} {
		s, err := parseStat(42, []byte("42 "+name+" S"+rest))
		if want := (stat{pid: 42, parent: 1, session: 5, state: 'S', threads: 1, start: 136898, ticks: 11, reaped: 15}); err != nil || s != want {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, bad := range []string{"", "42 (cat", "42 (cat) S 1 7 5", "42 (cat) S x" + rest[2:], "42 (cat) S 1 7 y" + rest[6:]} {
		if s, err := parseStat(42, []byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
	self, err := readStat(os.Getpid())
	if err != nil || self.parent != os.Getppid() || self.start == 0 || !self.alive() {
		t.Errorf("ourselves: %+v, %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (cat) S 1 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 136898 3133440"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStat(1, raw); err == nil && s.pid != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTokens(t *testing.T) {
	for environ, want := range map[string][]string{
		"A=1\x00TIDEOVER_TREE=abc\x00B=2\x00":           {"abc"},
		"TIDEOVER_TREE=abc":                             {"abc"},
		"TIDEOVER_TREE=abc\x00\x00TIDEOVER_TREE=d\x00":  {"abc", "d"},
		"XTIDEOVER_TREE=abc\x00A=TIDEOVER_TREE=abc\x00": nil,
		"TIDEOVER_TREE\x00":                             nil,
		"TIDEOVER_TREE=\x00":                            {""},
		"":                                              nil,
	} {
		if got := tokensOf([]byte(environ)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", environ, got, want)
		}
	}
	for _, pid := range []int{1 << 30, 1} { // none, and one that may be hidden
		if got, err := readTokens(pid, 1); len(got) > 0 || err != nil {
			t.Errorf("of pid %d: %q, %v", pid, got, err)
		}
	}
}

func TestParseUser(t *testing.T) {
	for status, want := range map[string]struct {
		uid  uint32
		same bool
	}{
		"Name:\tcat\nUmask:\t0022\nUid:\t33\t33\t33\t33\nGid:\t0\t0\t0\t0\n": {33, true},
		"Name:\ta\\nUid:\t0\t0\t0\t0\nUid:\t33\t33\t33\t0\n":                 {33, true},
		"Uid:\t4294967294\t4294967294\t4294967294\t0\n":                      {4294967294, true},
		"Uid:\t33\t0\t33\t33\n":                                              {},
		"Uid:\t33\t33\t0\t33\n":                                              {},
		"Uid:\t33\n":                                                         {},
		"Uid:\tx\tx\tx\n":                                                    {},
		"Gid:\t33\t33\t33\t33\n":                                             {},
		"":                                                                   {},
	} {
		if uid, same := parseUser([]byte(status)); same != want.same || same && uid != want.uid {
			t.Errorf("%q: %d, %v", status, uid, same)
		}
	}
	if uid, same, err := readUser(os.Getpid()); int(uid) != os.Getuid() || !same || err != nil {
		t.Errorf("ourselves: %d, %v, %v", uid, same, err)
	}
}

func TestDecodeAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0050":                         "0.0.0.0:80",
		"00000000000000000000000001000000:1F90": "[::1]:8080",
		"00000000000000000000000000000000:0001": "[::]:1",
		"B80D01200000000000000000010000FE:FFFF": "[2001:db8::fe00:1]:65535",
	} {
		if got, ok := decodeAddress(text); !ok || got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"", "0100007F", "0100007F:", ":1F90x", "01:1F90", "0100007F:1F901", "zz00007F:0050"} {
		if got, ok := decodeAddress(bad); ok {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

// TestListeningIsComplete: every listening socket of a tree is found once, those of others are not.
func TestListeningIsComplete(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for _, a := range [][2]string{{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"unix", filepath.Join(dir, "with two blanks")}, {"unix", "@abstract-" + strconv.Itoa(os.Getpid())}} {
		l, err := net.Listen(a[0], a[1])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want = append(want, a[0]+" "+l.Addr().String())
		conn, err := net.Dial(a[0], l.Addr().String()) // connections are no listeners
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	found, err := listeningOf([]int{os.Getpid(), os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range found {
		if l.PID != os.Getpid() || l.Inode == 0 {
			t.Errorf("%+v", l)
		}
		got = append(got, l.Network+" "+l.Address)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if none, err := listeningOf(nil); none != nil || err != nil {
		t.Errorf("of nobody: %v, %v", none, err)
	}
	k := launch(t, newCgroup, Spec{}, "sleep")
	k.line(t)
	if none, err := k.Listening(); len(none) > 0 || err != nil {
		t.Errorf("of a child without: %v, %v", none, err)
	}
}

func TestMemory(t *testing.T) {
	k := launch(t, newCgroup, Spec{}, "master", "sleep")
	k.readyPids(t)
	whole, err := k.Memory()
	if err != nil || whole < 1<<20 || whole > 1<<30 {
		t.Errorf("a tree: %d bytes, %v", whole, err)
	}
	one, err := memoryOf([]int{k.Pid()})
	if err != nil || one >= whole {
		t.Errorf("one of two: %d of %d, %v", one, whole, err)
	}
	tree, err := Descendants(k.Pid())
	if err != nil || tree[0] != k.Pid() || !slices.Equal(slices.Sorted(slices.Values(tree)), k.Members()) {
		t.Errorf("descendants %v, members %v, %v", tree, k.Members(), err)
	}
	if tree, err := MemoryOfTrees([]int{k.Pid()}); err != nil || tree <= one {
		t.Errorf("tree: %d of %d, %v", tree, whole, err)
	}
	k.Kill(t.Context())
	if n, err := MemoryOfTrees([]int{k.Pid()}); n != 0 || err != nil {
		t.Errorf("gone tree: %d, %v", n, err)
	}
	if n, err := k.Memory(); n != 0 || err != nil {
		t.Errorf("gone: %d, %v", n, err)
	}
	if n, err := memoryOf([]int{k.Pid()}); n != 0 || err != nil {
		t.Errorf("exited while we look: %d, %v", n, err)
	}
}

func TestMemoryAvailable(t *testing.T) {
	total, ok := readKilobytes("/proc/meminfo", "MemTotal:")
	if free := MemoryAvailable(); !ok || free == 0 || free > total {
		t.Errorf("%d of %d", free, total)
	}
	for _, c := range []struct {
		max, current, stat string
		room               uint64
		limited            bool
	}{
		{"1000\n", "600\n", "anon 1\ninactive_file 100\n", 500, true},
		{"1000\n", "600\n", "inactive_file 900\n", 1000, true},
		{"1000\n", "2000\n", "", 0, true},
		{"max\n", "600\n", "", 0, false},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"memory.max": c.max, "memory.current": c.current, "memory.stat": c.stat} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if room, limited := cgroupRoom(dir); room != c.room || limited != c.limited {
			t.Errorf("%+v: %d, %v", c, room, limited)
		}
	}
	if _, limited := cgroupRoom(t.TempDir()); limited {
		t.Error("limited by nothing")
	}
}

// TestResolveUser agrees with id(1) on every user of the machine.
func TestResolveUser(t *testing.T) {
	passwd, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer passwd.Close()
	users := 0
	for s := bufio.NewScanner(passwd); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) != 7 {
			continue
		}
		u, err := ResolveUser(f[0], "")
		if err != nil {
			t.Errorf("%s: %v", f[0], err)
			continue
		}
		users++
		groups := []string{}
		for _, g := range append([]uint32{u.GID}, u.Groups...) {
			if text := fmt.Sprint(g); !slices.Contains(groups, text) {
				groups = append(groups, text)
			}
		}
		out, err := exec.Command("id", "-G", f[0]).Output()
		want := strings.Fields(string(out))
		slices.Sort(want)
		slices.Sort(groups)
		if err != nil || !slices.Equal(groups, want) {
			t.Errorf("%s: groups %v, want %v, %v", f[0], groups, want, err)
		}
		if got, want := fmt.Sprintf("%d:%d:%s:%s", u.UID, u.GID, u.Home, u.Shell), strings.Join([]string{f[2], f[3], f[5], f[6]}, ":"); got != want {
			t.Errorf("%s: %s, want %s", f[0], got, want)
		}
	}
	if users == 0 {
		t.Error("no user was found at all")
	}
}

func TestResolveUserByNumber(t *testing.T) {
	root, err := ResolveUser("0", "")
	if err != nil || root.Name != "root" || root.UID != 0 || root.Home == "" {
		t.Errorf("0: %+v, %v", root, err)
	}
	if want := []string{"HOME=" + root.Home, "USER=root", "LOGNAME=root", "SHELL=" + root.Shell}; !slices.Equal(root.Env(), want) {
		t.Errorf("%q, want %q", root.Env(), want)
	}
	self, err := ResolveUser("", "")
	if err != nil || int(self.UID) != os.Getuid() {
		t.Errorf("ourselves: %+v, %v", self, err)
	}
	u, err := ResolveUser("root", "4712")
	if err != nil || u.UID != 0 || u.GID != 4712 {
		t.Errorf("another group: %+v, %v", u, err)
	}
	u, err = ResolveUser("4711", "daemon")
	if err != nil || u.UID != 4711 || u.GID == 0 || u.Home != "" || !slices.Equal(u.Env(), []string{"USER=4711", "LOGNAME=4711"}) {
		t.Errorf("an id without an entry: %+v, %v", u, err)
	}
	for _, bad := range []struct{ user, group, words string }{
		{"nobody-of-the-kind", "", `no user "nobody-of-the-kind"`},
		{"4711", "", "name its group, too"},
		{"root", "no-such-group", `no group "no-such-group"`},
		{"99999999999", "", "no user"},
	} {
		if u, err := ResolveUser(bad.user, bad.group); err == nil || !strings.Contains(err.Error(), bad.words) {
			t.Errorf("%q, %q: %+v, %v", bad.user, bad.group, u, err)
		}
	}
}

func TestMountNames(t *testing.T) {
	if got := unescapeMount(`/a\040b\011c\134d`); got != "/a b\tc\\d" {
		t.Error(got)
	}
	if c := openCgroup("/tmp/tideover-1-shop.1"); c != nil {
		t.Error("a directory that is no cgroup was taken for one")
	}
	if c := openCgroup(""); c != nil {
		t.Error("nothing was taken for a cgroup")
	}
}
