//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The packages of a release: two builds are equal, all have the same program in
// them, a Python environment without Go runs an app with the wheel, and Debian's
// package is installed, replaced under load, removed and purged. At full size
// also: the Dockerfile of the examples, the .rpm where there is an rpm, and the
// program for arm64 where there is an emulator.
func TestPackages(t *testing.T) {
	r := begin(t)
	one := r.packages("one", r.env.Root)
	t.Run("equal", func(t *testing.T) { begin(t).comparePackages(one) })
	t.Run("wheel", func(t *testing.T) { begin(t).tryWheel(one) })
	if *full {
		t.Run("container", func(t *testing.T) { begin(t).tryContainer(one) })
	}
	t.Run("debian", func(t *testing.T) { begin(t).tryDebianPackage(one) })
	if _, err := exec.LookPath("rpm"); err == nil && *full {
		t.Run("rpm", func(t *testing.T) { begin(t).tryRPM(one) })
	}
	if _, err := exec.LookPath("qemu-aarch64-static"); err == nil && *full {
		t.Run("arm64", func(t *testing.T) { begin(t).tryARM64(one) })
	}
}

// packages runs scripts/package in a fresh clone and returns the folder with the
// packages. At full size they are for both architectures, and nothing that was
// compiled before is used again.
func (r *row) packages(name, source string) string {
	r.Helper()
	clone, out := r.env.Path(name), r.env.Path(name+".dist")
	r.shell("git clone -q " + source + " " + clone + " && mkdir " + clone + "/.local && ln -s " + filepath.Join(r.env.Root, ".local/venvs") + " " + clone + "/.local/venvs")
	args := []string{"--arch", runtime.GOARCH, "--out", out}
	cache := ""
	if *full {
		args = []string{"--out", out}
		cache = "GOCACHE=" + r.env.Path(name+".cache")
	}
	cmd := exec.CommandContext(r.timeout(15*time.Minute), filepath.Join(clone, "scripts/package"), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+r.env.Dir)
	if cache != "" {
		cmd.Env = append(cmd.Env, cache)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("scripts/package: %v\n%s", err, out)
	}
	return out
}

// shell runs a command line and ends the row when it fails.
func (r *row) shell(line string, env ...string) string {
	r.Helper()
	cmd := exec.CommandContext(r.timeout(2*time.Minute), "sh", "-ec", line)
	cmd.Dir, cmd.Env = r.env.Dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// onePackage is the file that matches a pattern.
func (r *row) onePackage(dist, pattern string) string {
	r.Helper()
	found, err := filepath.Glob(filepath.Join(dist, pattern))
	if err != nil || len(found) != 1 {
		r.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

// comparePackages makes the packages once more, in another folder, and compares
// the programs that are in them.
func (r *row) comparePackages(one string) {
	two := r.packages("two", r.env.Root)
	r.shell("diff -r " + one + " " + two)
	r.shell("cd " + one + " && sha256sum --quiet --check SHA256SUMS")
	deb := map[string]string{"amd64": "amd64", "arm64": "arm64"}[runtime.GOARCH]
	wheel := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	r.shell("mkdir deb wheel tar && dpkg-deb -x " + r.onePackage(one, "*_"+deb+".deb") + " deb")
	r.shell("python3 -m zipfile -e " + r.onePackage(one, "*"+wheel+".whl") + " wheel")
	r.shell("tar -xzf " + r.onePackage(one, "*linux-"+runtime.GOARCH+".tar.gz") + " -C tar --strip-components 1")
	programs := map[[sha256.Size]byte]bool{}
	for _, pattern := range []string{"deb/usr/bin/tideover", "wheel/*.data/scripts/tideover", "tar/tideover"} {
		text, err := os.ReadFile(r.onePackage(r.env.Dir, pattern))
		r.must(err)
		programs[sha256.Sum256(text)] = true
	}
	if len(programs) != 1 {
		r.Errorf("the packages have %d different programs", len(programs))
	}
	entries, err := os.ReadDir(one)
	r.must(err)
	r.addNumbers("files=%d", len(entries))
}

// tryWheel installs the wheel in a new environment with gunicorn and without Go,
// and runs an app.
func (r *row) tryWheel(dist string) {
	began := time.Now()
	wheel := r.onePackage(dist, "*"+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]+".whl")
	gunicorn := r.env.Venv("gunicorn-latest", "gunicorn")
	r.shell("/usr/bin/python3 -m venv venv && venv/bin/pip install -q --no-index --disable-pip-version-check "+wheel, "PATH=/usr/bin:/bin")
	// gunicorn is in an environment already; this one gets its packages without a download
	r.shell(fmt.Sprintf("echo %s > $(echo venv/lib/python3*/site-packages)/gunicorn.pth; { echo '#!'$PWD/venv/bin/python3; tail -n +2 %s; } > venv/bin/gunicorn; chmod +x venv/bin/gunicorn",
		r.onePackage(filepath.Dir(filepath.Dir(gunicorn)), "lib/python3*/site-packages"), gunicorn))
	_, err := r.env.Write("app.py", "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'hello']\n")
	r.must(err)
	head := make([]byte, 4)
	program, err := os.Open(r.env.Path("venv/bin/tideover"))
	r.must(err)
	defer program.Close()
	if _, err := io.ReadFull(program, head); err != nil || string(head) != "\x7fELF" {
		r.Fatalf("bin/tideover is not the program itself: %q %v", head, err)
	}
	address, err := testenv.Address()
	r.must(err)
	p, err := r.env.Start(testenv.Command{Name: "tideover", App: true, Argv: []string{"venv/bin/tideover", "-S", r.env.Path("control.sock"), "run", "--", "gunicorn", "-b", address, "app:app"},
		Env: []string{"PATH=" + r.env.Path("venv/bin") + ":/usr/bin:/bin"}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(30*time.Second), 20*time.Millisecond, func() error {
		answer, err := http.Get("http://" + address)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil && string(text) != "hello" {
			err = fmt.Errorf("%d %q", answer.StatusCode, text)
		}
		return err
	}))
	r.addNumbers("installed_and_answering=%.1fs", time.Since(began).Seconds())
	r.must(p.Stop(syscall.SIGTERM, 30*time.Second))
	if files := r.shell("venv/bin/pip uninstall -q -y tideover; ls venv/bin/tideover venv/share/man/man1/tideover.1 2>/dev/null || true"); files != "" {
		r.Errorf("pip uninstall leaves %s", files)
	}
}

// tryDebianPackage lets dpkg install the package into a small root folder, in a
// mount namespace; its scripts and the daemon run there by chroot.
func (r *row) tryDebianPackage(dist string) {
	r.must(os.MkdirAll(r.env.Path("deb"), 0o755))
	deb := r.onePackage(dist, "*_"+runtime.GOARCH+".deb")
	r.shell("dpkg-deb -e " + deb + " deb && for script in deb/p*; do sh -n $script; done")
	if os.Geteuid() != 0 || exec.Command("unshare", "--mount", "mount", "--bind", "/tmp", "/tmp").Run() != nil {
		r.addNumbers("scripts=checked namespace=none") // without root there are no namespaces to install in
		return
	}
	d := &packageRoot{row: r, folder: r.env.Path("root")}
	d.install = func(deb string) { d.dpkg("--install", deb) }
	d.make()
	d.namespace()
	d.dpkg("--install", deb)
	for _, account := range []string{"passwd", "group"} {
		if text, err := os.ReadFile(filepath.Join(d.folder, "etc", account)); err != nil || !bytes.Contains(text, []byte("\ntideover:")) {
			r.Errorf("%s has no tideover: %v\n%s", account, err, text)
		}
	}
	d.checkSupervisorctl("/usr/bin/tideover")
	if out := r.shell("cat root/etc/tideover/tideover.toml"); !strings.Contains(out, "socket_group") {
		r.Errorf("no configuration: %s", out)
	}
	next := deb
	if *full { // another version, from another commit
		other := r.env.Path("other")
		r.shell("git clone -q " + r.env.Root + " " + other + " && git -C " + other + " -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m next")
		next = r.onePackage(r.packages("next", other), "*_"+runtime.GOARCH+".deb")
	}
	d.upgradeUnderLoad(next, deb)
	d.dpkg("--remove", "tideover")
	d.checkSupervisorctl("")
	if _, err := os.Stat(filepath.Join(d.folder, "etc/tideover/tideover.toml")); err != nil {
		r.Errorf("removal takes the configuration: %v", err)
	}
	r.must(testenv.Poll(r.timeout(30*time.Second), 10*time.Millisecond, func() error {
		if left := r.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("processes are left after the removal: %s", left)
		}
		return nil
	}))
	d.dpkg("--purge", "tideover")
	if left := r.shell("find root -name '*tideover*'"); left != "" {
		r.Errorf("purge leaves\n%s", left)
	}
	r.addNumbers("namespace=own")
}

// tryRPM lets rpm install the package into such a folder, replace the running daemon, and remove it.
func (r *row) tryRPM(dist string) {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	file := r.onePackage(dist, "*."+arch+".rpm")
	r.shell("rpm -K --nosignature " + file)
	if os.Geteuid() != 0 || exec.Command("unshare", "--mount", "mount", "--bind", "/tmp", "/tmp").Run() != nil {
		r.addNumbers("checked namespace=none")
		return
	}
	d := &packageRoot{row: r, folder: r.env.Path("root")}
	d.install = func(file string) { d.rpm("-U", "--nodeps", "--replacepkgs", file) } // no package of sh is in the folder
	d.make()
	d.namespace()
	d.install(file)
	d.checkSupervisorctl("/usr/bin/tideover")
	if out := r.shell("cat root/etc/passwd root/etc/tideover/tideover.toml"); !strings.Contains(out, "\ntideover:") || !strings.Contains(out, "socket_group") {
		r.Errorf("no user, or no configuration: %s", out)
	}
	d.upgradeUnderLoad(file, file)
	d.rpm("-e", "tideover")
	d.checkSupervisorctl("")
	r.must(testenv.Poll(r.timeout(30*time.Second), 10*time.Millisecond, func() error {
		if left := r.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("processes are left after the removal: %s", left)
		}
		return nil
	}))
	left := strings.Fields(r.shell("find root -name '*tideover*' ! -path 'root/run/*' ! -path 'root/var/lib/*'"))
	if want := []string{"root/etc/tideover", "root/etc/tideover/tideover.toml.rpmsave"}; !slices.Equal(left, want) {
		r.Errorf("the removal leaves %v, not %v", left, want) // the file that was changed is kept
	}
}

// checkSupervisorctl compares what supervisorctl is, by the alternatives; empty: there is none.
func (d *packageRoot) checkSupervisorctl(want string) {
	d.Helper()
	got := ""
	if first, err := os.Readlink(filepath.Join(d.folder, "usr/bin/supervisorctl")); err == nil {
		got, _ = os.Readlink(filepath.Join(d.folder, first))
	}
	if got != want {
		d.Errorf("supervisorctl is %q, not %q", got, want)
	}
}

func (d *packageRoot) rpm(args ...string) {
	d.Helper()
	argv := d.inside(append([]string{"rpm", "--root=" + d.folder}, args...)...)
	if out, err := exec.CommandContext(d.timeout(3*time.Minute), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		d.Fatalf("rpm %v: %v\n%s", args, err, out)
	}
}

// tryARM64 runs the program for arm64 under an emulator: what reads a configuration and prints. A daemon
// executes itself (/proc/self/exe), which the kernel does under the emulator only with binfmt_misc.
func (r *row) tryARM64(dist string) {
	r.shell("tar -xzf " + r.onePackage(dist, "*linux-arm64.tar.gz") + " --strip-components 1")
	if out := r.shell("qemu-aarch64-static ./tideover version"); !strings.Contains(out, "linux/arm64") {
		r.Errorf("it says %q", out)
	}
	_, err := r.env.Write("tideover.toml", "[app.shop]\ncommand = \"gunicorn shop:app\"\nlisten = \"127.0.0.1:8000\"\n")
	r.must(err)
	if out := r.shell("qemu-aarch64-static ./tideover check tideover.toml || true"); !strings.Contains(out, "error") {
		r.Errorf("check says %q", out)
	}
}

// packageRoot is a root folder with what the scripts of a package need.
type packageRoot struct {
	*row
	install func(file string) // or upgrades
	folder  string
	pid     int // of the process that keeps the mount namespace
}

// make copies a shell and a few programs with their libraries, and writes the
// database of an empty Debian.
func (d *packageRoot) make() {
	d.Helper()
	d.shell(`mkdir -p root/bin root/usr/bin root/usr/sbin root/sbin root/tmp root/var/tmp root/var/log root/run root/proc root/dev root/etc root/srv
chmod 1777 root/tmp root/var/tmp
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates root/var/lib/dpkg/alternatives root/etc/alternatives
printf 'Package: passwd\nStatus: install ok installed\nMaintainer: a <a@example.org>\nArchitecture: all\nVersion: 1\nDescription: d\n\n' > root/var/lib/dpkg/status
printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n' > root/etc/passwd
printf 'root:x:0:\nwww-data:x:33:\n' > root/etc/group
printf 'passwd: files\ngroup: files\nshadow: files\n' > root/etc/nsswitch.conf
: > root/etc/shadow; : > root/etc/gshadow; : > root/dev/null
for name in sh cat tr readlink sleep rm getent groupadd useradd update-alternatives; do
    path=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin; command -v $name)
    cp -L $path root/usr/bin/$name
    ldd $path | grep -o '/[^ ]*' | while read -r library; do mkdir -p root$(dirname $library); cp -Ln $library root$library; done
done
cp -L root/usr/bin/sh root/bin/sh
mkdir -p root/srv/shop && echo release=1 > root/srv/shop/release && chown -R 33:33 root/srv/shop`)
	d.shell("cd "+d.env.Root+" && go build -o "+filepath.Join(d.folder, "srv/shop/server")+" ./examples/other-servers", "CGO_ENABLED=0")
}

// namespace starts the process whose mount namespace is that of all commands: it has /proc and
// /dev/null in the folder.
func (d *packageRoot) namespace() {
	d.Helper()
	script := `mount --bind /proc "$0/proc"; mount --bind /dev/null "$0/dev/null"; echo mounted; exec sleep 1000`
	p, err := d.env.Start(testenv.Command{Name: "namespace", Argv: []string{"unshare", "--mount", "sh", "-ec", script, d.folder}})
	d.must(err)
	d.must(testenv.Poll(d.timeout(10*time.Second), 10*time.Millisecond, func() error {
		if !strings.Contains(p.Tail(1), "mounted") {
			return errors.New("no mount namespace: " + p.Tail(5))
		}
		return nil
	}))
	d.pid = p.Pid()
}

// inside returns a command in that namespace.
func (d *packageRoot) inside(argv ...string) []string {
	return append([]string{"nsenter", "--mount", "--target", fmt.Sprint(d.pid)}, argv...)
}

func (d *packageRoot) dpkg(args ...string) {
	d.Helper()
	argv := d.inside(append([]string{"dpkg", "--root=" + d.folder, "--log=/dev/null", "--force-confold"}, args...)...)
	cmd := exec.CommandContext(d.timeout(2*time.Minute), argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("dpkg %v: %v\n%s", args, err, out)
	}
}

// upgradeUnderLoad runs the daemon, and installs packages while requests come.
func (d *packageRoot) upgradeUnderLoad(packages ...string) {
	d.Helper()
	address, err := testenv.Address()
	d.must(err)
	config := filepath.Join(d.folder, "etc/tideover/tideover.toml")
	text, err := os.ReadFile(config)
	d.must(err)
	app := fmt.Sprintf("[app.shop]\ncommand = \"./server {fd}\"\ndirectory = \"/srv/shop\"\nuser = \"www-data\"\nlisten = %q\n\n", address)
	d.must(os.WriteFile(config, append([]byte(app), text...), 0o644))
	p, err := d.env.Start(testenv.Command{Name: "daemon", App: true,
		Argv: d.inside("chroot", d.folder, "/usr/bin/tideover", "run", "-c", "/etc/tideover/tideover.toml"),
		Env:  []string{"XDG_RUNTIME_DIR=", "XDG_STATE_HOME=", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}})
	d.must(err)
	client := &loadgen.Client{Address: address}
	defer client.Close()
	d.must(testenv.Poll(d.timeout(20*time.Second), 10*time.Millisecond, func() error {
		if a := client.Do(d.Context(), loadgen.Kind{}); a.Loss != "" {
			return errors.New(a.Cause)
		}
		return nil
	}))
	load := loadgen.Start(loadgen.Plan{Client: client, Rate: 50})
	for _, file := range packages {
		before := d.program(p.RolePid("supervisor"))
		d.install(file)
		if after := d.program(p.RolePid("supervisor")); after == before {
			d.Errorf("the daemon is not replaced: %s\n%s", after, p.Tail(20))
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.RolePid("supervisor"))); err != nil || !strings.HasSuffix(exe, "/usr/bin/tideover") {
			d.Errorf("the daemon is %s, %v", exe, err)
		}
	}
	tally := load.Stop()
	d.checkNothingLost(tally)
	d.addNumbers("upgrades=%d requests=%d lost=%d", len(packages), tally.Ended, tally.Lost())
}

// program is the device and inode of the program that a process runs.
func (d *packageRoot) program(pid int) string {
	var stat syscall.Stat_t
	d.must(syscall.Stat(fmt.Sprintf("/proc/%d/exe", pid), &stat))
	return fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
