//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// instruction returns the array of an instruction of the Dockerfile, after its options.
func instruction(r *row, dockerfile, name string) (argv []string) {
	r.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` [^\[\n]*(\[.*\])$`).FindStringSubmatch(dockerfile)
	if found == nil {
		r.Fatalf("the Dockerfile has no %s as an array:\n%s", name, dockerfile)
	}
	r.must(json.Unmarshal([]byte(found[1]), &argv))
	return argv
}

// The container's process 1 is what the Dockerfile says, in a pid namespace of its own. There is no
// container engine in the test: the image itself is not built.
func TestExampleDocker(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "docker")
	text, err := os.ReadFile(filepath.Join(e.dir, "Dockerfile"))
	r.must(err)
	entrypoint, health := instruction(r, string(text), "ENTRYPOINT"), instruction(r, string(text), "HEALTHCHECK")
	if strings.Join(entrypoint, " ") != "tideover run -c tideover.toml" || health[0] != "tideover" {
		r.Fatalf("the row starts another command than %q, or asks by another one than %q", entrypoint, health)
	}
	e.replace("tideover.toml", "0.0.0.0:8000", "127.0.0.1:8000")
	if exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run() == nil {
		binary, err := r.env.Write("process-1", "#!/bin/sh\nexec unshare --pid --fork --kill-child --mount-proc "+testenv.Binary(r.env.Root)+" \"$@\"\n")
		r.must(err)
		r.must(os.Chmod(binary, 0o755))
		e.binary = binary
	}
	answer := loadgen.Kind{Name: "page", Path: "/", Plain: true, Want: "shop, generation "}
	healthy := func(want int) {
		r.Helper()
		if exit, out := e.command(health...); exit != want {
			r.Errorf("HEALTHCHECK: want exit %d: exit %d %s", want, exit, out)
		}
	}
	e.start("shop", answer)
	healthy(0)
	e.load = loadgen.Start(loadgen.Plan{Client: e.client, Rate: 20, Mix: []loadgen.Kind{answer}})
	e.throughEverything("shop.py")
	healthy(0)
	tally := e.load.Stop()
	e.measure(tally)
	e.checkNothingLost(tally)

	// docker stop: TERM to process 1. While it lingers, requests are answered and HEALTHCHECK says no.
	process1 := e.mainProcess()
	e.must(syscall.Kill(process1, syscall.SIGTERM))
	e.must(testenv.Poll(e.timeout(20*time.Second), 10*time.Millisecond, func() error {
		if exit, _ := e.command(health...); exit == 0 {
			return fmt.Errorf("HEALTHCHECK still says yes")
		}
		return nil
	}))
	select {
	case <-e.daemon.Exited():
		if e.daemon.Code() != 0 {
			e.Errorf("the container ends with %d\n%s", e.daemon.Code(), e.daemon.Tail(20))
		}
	case <-e.timeout(60 * time.Second).Done():
		e.Errorf("docker stop: the container does not end\n%s", e.daemon.Tail(20))
	}
	e.checkNoneLeft()
	e.addNumbers("events=%d namespace=%v %v", e.events, e.binary != "", tally)
}

// mainProcess is the pid of the daemon itself, below the programs that have started it.
func (e *exampleApp) mainProcess() int {
	e.Helper()
	pid := e.daemon.Pid()
	if e.binary == "" {
		return pid
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	e.must(err)
	var child int
	_, err = fmt.Sscan(string(children), &child)
	e.must(err)
	return child
}

// manifest is what the rows need of the objects in a file.
type manifest struct {
	Kind string
	Data map[string]string
	Spec struct {
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int
				Containers                    []struct {
					Command        []string
					Ports          []struct{ Name string }
					ReadinessProbe probe
					LivenessProbe  probe
					StartupProbe   probe
					Lifecycle      struct {
						PreStop struct{ Sleep struct{ Seconds int } }
					}
				}
			}
		}
	}
}

type probe struct {
	HTTPGet       struct{ Path, Port string } `json:"httpGet"`
	PeriodSeconds int
}

// The manifests are valid, and a pod of them, started with its ConfigMap and asked as its probes
// say, loses nothing until the last client has gone to another pod.
func TestExampleKubernetes(t *testing.T) {
	r := begin(t)
	file := filepath.Join(r.env.Root, "examples/kubernetes/shop.yaml")
	validate := exec.Command(r.env.Venv("deploy", "kubernetes-validate"), "--strict", file)
	if out, err := validate.CombinedOutput(); err != nil {
		r.Fatalf("kubernetes-validate: %v\n%s", err, out)
	}
	out, err := exec.Command(r.env.Venv("deploy", "python"), "-c", "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))", file).Output()
	r.must(err)
	var objects []manifest
	r.must(json.Unmarshal(out, &objects))
	var configuration string
	var pod manifest
	for _, o := range objects {
		switch o.Kind {
		case "ConfigMap":
			configuration = o.Data["tideover.toml"]
		case "Deployment":
			pod = o
		}
	}
	spec := pod.Spec.Template.Spec
	if len(spec.Containers) != 1 || configuration == "" {
		r.Fatalf("no pod with one container, or no configuration: %+v", objects)
	}
	container := spec.Containers[0]
	stop := regexp.MustCompile(`stop_timeout = "(\d+)s"`).FindStringSubmatch(configuration)
	var total int
	if _, err := fmt.Sscan(stop[1], &total); err != nil || container.Lifecycle.PreStop.Sleep.Seconds+total >= spec.TerminationGracePeriodSeconds {
		r.Errorf("preStop %d s and stop_timeout %d s do not fit into %d s", container.Lifecycle.PreStop.Sleep.Seconds, total, spec.TerminationGracePeriodSeconds)
	}

	answer := loadgen.Kind{Name: "page", Path: "/", Plain: true, Want: "shop, generation "}
	start := func(name string) (e *exampleApp, ask func(probe) int) {
		r.Helper()
		other, err := testenv.New("pod")
		r.must(err)
		r.Cleanup(func() { other.Close(r.Failed()) })
		pod := *r
		pod.env = other
		e = copyExampleTo(&pod, "docker", other.Path(name))
		admin, err := testenv.Address()
		r.must(err)
		text := strings.NewReplacer("0.0.0.0:9464", admin, "0.0.0.0:8000", "127.0.0.1:8000", "/srv/shop", e.dir, `linger       = "10s"`, `linger       = "4s"`).Replace(configuration)
		r.must(os.WriteFile(filepath.Join(e.dir, "tideover.toml"), []byte(text), 0o644))
		ask = func(p probe) int {
			client := http.Client{Timeout: 20 * time.Second}
			reply, err := client.Get("http://" + admin + p.HTTPGet.Path)
			if err != nil {
				return 0
			}
			reply.Body.Close()
			return reply.StatusCode
		}
		e.start("shop", answer)
		r.must(testenv.Poll(r.timeout(20*time.Second), 20*time.Millisecond, func() error {
			if status := ask(container.StartupProbe); status != 200 {
				return fmt.Errorf("the startup probe gets %d", status)
			}
			return nil
		}))
		return e, ask
	}
	first, ask := start("first")
	first.load = loadgen.Start(loadgen.Plan{Client: first.client, Rate: 20, Mix: []loadgen.Kind{answer}})
	first.throughEverything("shop.py")
	for _, p := range []probe{container.ReadinessProbe, container.LivenessProbe} {
		if status := ask(p); status != 200 {
			r.Errorf("%s: %d while the app serves", p.HTTPGet.Path, status)
		}
	}
	// The rolling update: another pod is ready, this one gets TERM, readiness says no, and after that
	// the last requests still come.
	second, _ := start("second")
	first.must(first.daemon.Signal(syscall.SIGTERM))
	r.must(testenv.Poll(r.timeout(20*time.Second), 10*time.Millisecond, func() error {
		if status := ask(container.ReadinessProbe); status != 503 {
			return fmt.Errorf("the readiness probe gets %d after TERM", status)
		}
		return nil
	}))
	before := first.load.Tally().Ended
	r.must(testenv.Poll(r.timeout(20*time.Second), 10*time.Millisecond, func() error {
		if n := first.load.Tally().Ended - before; n < 20 {
			return fmt.Errorf("%d requests after TERM", n)
		}
		return nil
	}))
	if a := first.client.Do(r.Context(), answer); a.Loss != "" {
		r.Errorf("a new connection after TERM: %s %s", a.Loss, a.Cause)
	}
	if status := ask(container.LivenessProbe); status != 200 {
		r.Errorf("liveness is %d while the pod ends: the kubelet would kill it", status)
	}
	tally := first.load.Stop()
	second.load = loadgen.Start(loadgen.Plan{Client: second.client, Rate: 20, Mix: []loadgen.Kind{answer}})
	r.checkNothingLost(tally)
	select {
	case <-first.daemon.Exited():
		if first.daemon.Code() != 0 {
			r.Errorf("the pod ends with %d\n%s", first.daemon.Code(), first.daemon.Tail(20))
		}
	case <-r.timeout(60 * time.Second).Done():
		r.Error("the pod does not end")
	}
	r.checkNothingLost(second.load.Stop())
	r.measure(tally)
	r.addNumbers("events=%d after_term=%d %v", first.events, tally.Ended-before, tally)
	second.stop()
}
