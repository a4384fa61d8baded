//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// container is a root folder that the steps of a Dockerfile have filled. /usr of this machine stands
// for its base image.
type container struct {
	*row
	folder, workdir string
	vars            []string // environment
	command         []string // of CMD
	healthy         []string // of HEALTHCHECK
}

// containerMounts makes the folder $0 a root: with the programs and libraries of this machine,
// read-only, and /proc of the process's namespace.
const containerMounts = `for dir in usr lib lib64 bin sbin; do
    [ -d /$dir ] && ! [ -L /$dir ] || continue
    mkdir -p $0/$dir && mount --bind /$dir $0/$dir && mount -o remount,bind,ro $0/$dir
done
mkdir -p $0/dev $0/proc && touch $0/dev/null && mount --bind /dev/null $0/dev/null && mount -t proc proc $0/proc
`

// tryContainer carries out examples/container/Dockerfile and runs its command as process 1.
func (r *row) tryContainer(dist string) {
	if os.Geteuid() != 0 || exec.Command("unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc").Run() != nil {
		r.addNumbers("namespace=none") // without root there are no namespaces
		return
	}
	c := &container{row: r, folder: r.env.Path("root")}
	c.base()
	context := r.env.Path("context")
	r.shell("mkdir " + context + " && ln -s " + dist + " " + context + "/dist && ln -s " + filepath.Join(r.env.Root, "examples") + " " + context + "/examples")
	c.build(context)
	address, err := testenv.Address()
	r.must(err)
	_, port, _ := strings.Cut(address, ":")
	r.shell(`sed -i 's/":8000"/":` + port + `"/' ` + c.folder + "/etc/tideover/tideover.toml")
	p, err := r.env.Start(testenv.Command{Name: "container", App: true, Argv: c.inside(c.command, "--pid", "--fork", "--kill-child")})
	r.must(err)
	client := &loadgen.Client{Address: address}
	defer client.Close()
	kind := loadgen.Kind{Plain: true, Want: "hello"}
	r.must(testenv.Poll(r.timeout(60*time.Second), 50*time.Millisecond, func() error {
		if a := client.Do(r.Context(), kind); a.Loss != "" {
			return fmt.Errorf("%s\n%s", a.Cause, p.Tail(20))
		}
		return nil
	}))
	load := loadgen.Start(loadgen.Plan{Client: client, Rate: 50, Mix: []loadgen.Kind{kind}})
	r.must(c.exec(p, c.healthy...))
	r.must(c.exec(p, "tideover", "reload", "shop"))
	r.must(c.exec(p, "tideover", "restart", "shop"))
	tally := load.Stop()
	r.checkNothingLost(tally)
	pid, err := strconv.Atoi(c.first(p))
	r.must(err)
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if r.must(err); filepath.Base(program) != "tideover" {
		r.Errorf("process 1 is %s", program)
	}
	r.must(syscall.Kill(pid, syscall.SIGTERM))
	select {
	case <-p.Exited():
	case <-time.After(60 * time.Second):
		r.Errorf("the container does not end\n%s", p.Tail(20))
	}
	r.addNumbers("requests=%d lost=%d", tally.Ended, tally.Lost())
}

// base makes what every image has.
func (c *container) base() {
	c.Helper()
	c.shell(`mkdir -p root/etc root/srv root/tmp root/run root/var/lib root/opt root/dev root/proc && chmod 1777 root/tmp
for dir in lib lib64 bin sbin; do [ -L /$dir ] && cp -P /$dir root/$dir || true; done
printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n' > root/etc/passwd
printf 'root:x:0:\nwww-data:x:33:\n' > root/etc/group
cp /etc/ld.so.cache root/etc/`)
}

// build carries out the Dockerfile.
func (c *container) build(context string) {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(context, "examples/container/Dockerfile"))
	c.must(err)
	c.wheels()
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#", "FROM", "EXPOSE":
		case "COPY":
			c.copy(context, rest)
		case "RUN":
			argv := c.inside([]string{"sh", "-ec", rest})
			if out, err := exec.CommandContext(c.timeout(3*time.Minute), argv[0], argv[1:]...).CombinedOutput(); err != nil {
				c.Fatalf("%s: %v\n%s", line, err, out)
			}
		case "ENV":
			c.vars = append(c.vars, rest)
		case "WORKDIR":
			c.workdir = rest
			c.must(os.MkdirAll(filepath.Join(c.folder, rest), 0o755))
		case "HEALTHCHECK":
			c.must(json.Unmarshal([]byte(strings.TrimPrefix(rest, "CMD ")), &c.healthy))
		case "CMD":
			c.must(json.Unmarshal([]byte(rest), &c.command))
		default:
			c.Fatalf("the row does not know %s", line)
		}
	}
}

// copy is COPY with one source: a folder's content, or a file.
func (c *container) copy(context, arguments string) {
	c.Helper()
	from, to, _ := strings.Cut(arguments, " ")
	if !filepath.IsAbs(to) {
		to = filepath.Join(c.workdir, to) + "/"
	}
	to = c.folder + to
	c.must(os.MkdirAll(filepath.Dir(to), 0o755))
	if strings.HasSuffix(from, "/") {
		from += "."
	}
	c.shell("cp -RL " + filepath.Join(context, filepath.Dir(from)) + "/" + filepath.Base(from) + " " + to)
}

// wheels makes wheels of gunicorn and of what it needs from an environment of scripts/setup, so that pip
// needs no network.
func (c *container) wheels() {
	c.Helper()
	packages := c.onePackage(filepath.Dir(filepath.Dir(c.env.Venv("gunicorn-latest", "gunicorn"))), "lib/python3*/site-packages")
	c.shell("mkdir root/wheels && cd " + packages + ` && for info in gunicorn-*.dist-info packaging-*.dist-info; do
    python3 -m zipfile -c $OLDPWD/root/wheels/${info%.dist-info}-py3-none-any.whl ${info%%-*} $info
done`)
	c.vars = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_DISABLE_PIP_VERSION_CHECK=1"}
}

// inside returns a command that runs in the root folder, in namespaces of its own.
func (c *container) inside(argv []string, namespaces ...string) []string {
	all := append([]string{"unshare", "--mount"}, namespaces...)
	all = append(all, "sh", "-ec", containerMounts+`root=$0; exec chroot $root env -i "$@"`, c.folder)
	return append(append(all, c.vars...), append([]string{"sh", "-c", `cd "$0" && exec "$@"`, "/" + c.workdir}, argv...)...)
}

// first is the pid, outside, of process 1 of the container.
func (c *container) first(p *testenv.Process) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Pid()))
	c.must(err)
	return strings.TrimSpace(string(text))
}

// exec runs a command in the container, as docker exec does.
func (c *container) exec(p *testenv.Process, argv ...string) error {
	all := append([]string{"--mount", "--pid", "--target", c.first(p), "chroot", c.folder, "env", "-i"}, append(c.vars, argv...)...)
	out, err := exec.CommandContext(c.timeout(60*time.Second), "nsenter", all...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w\n%s\n%s", argv, err, out, p.Tail(20))
	}
	return err
}
