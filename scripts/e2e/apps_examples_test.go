//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// What happens to one app is not seen by the clients of another, and `apply` adds and removes one
// beside them.
func TestExampleSeveralApps(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "several-apps")
	addresses := map[string]string{}
	for name, published := range map[string]string{"shop": "127.0.0.1:8000", "api": "127.0.0.1:8001", "blog": "127.0.0.1:8002"} {
		address, err := testenv.Address()
		r.must(err)
		addresses[name] = address
		file := "conf.d/" + name + ".toml"
		if name == "shop" {
			file = "tideover.toml"
		}
		e.replace(file, published, address)
	}
	added, err := os.ReadFile(filepath.Join(e.dir, "conf.d/blog.toml"))
	r.must(err)
	r.must(os.Remove(filepath.Join(e.dir, "conf.d/blog.toml")))
	e.run("shop")
	kind := func(name string) loadgen.Kind {
		return loadgen.Kind{Name: name, Path: "/", Plain: true, Want: name + "\n"}
	}
	var loads []*loadgen.OpenLoop
	serve := func(name string) {
		r.Helper()
		client := &loadgen.Client{Address: addresses[name]}
		r.must(testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() error {
			if a := client.Do(r.Context(), kind(name)); a.Loss != "" {
				return fmt.Errorf("%s: %s %s\n%s", name, a.Loss, a.Cause, e.daemon.Tail(20))
			}
			return nil
		}))
		loads = append(loads, loadgen.Start(loadgen.Plan{Client: client, Rate: 10, Mix: []loadgen.Kind{kind(name)}}))
	}
	call := func(want int, verb ...string) {
		r.Helper()
		outcome, err := e.daemon.Call(r.timeout(60*time.Second), verb...)
		r.must(err)
		e.events++
		if outcome.Exit != want {
			r.Errorf("%v: want exit %d: %v", verb, want, outcome)
		}
	}
	generation := func(name string) int {
		r.Helper()
		status, err := e.daemon.StatusOf(r.timeout(10*time.Second), name)
		r.must(err)
		return status.Generation
	}
	serve("shop")
	serve("api")
	for range times(1) {
		r.must(os.WriteFile(filepath.Join(e.dir, "conf.d/blog.toml"), added, 0o644))
		before := generation("shop")
		call(0, "apply")
		serve("blog")
		if now := generation("shop"); now != before {
			r.Errorf("apply has put shop into generation %d, was %d", now, before)
		}
		call(0, "reload", "site")
		call(0, "reload", "--all")
		call(0, "restart", "shop")
		call(0, "signal", "api", "KILL")
		text, err := os.ReadFile(filepath.Join(e.dir, "shop.py"))
		r.must(err)
		r.must(os.WriteFile(filepath.Join(e.dir, "shop.py"), []byte("import nothing_of_this_name\n"), 0o644))
		call(7, "reload", "site") // the worst of them: shop keeps the code before, api and blog have theirs
		r.must(os.WriteFile(filepath.Join(e.dir, "shop.py"), text, 0o644))
		last := loads[len(loads)-1]
		loads = loads[:len(loads)-1]
		r.checkNothingLost(last.Stop())
		r.must(os.Remove(filepath.Join(e.dir, "conf.d/blog.toml")))
		call(0, "apply")
	}
	requests := 0
	for _, load := range loads {
		tally := load.Stop()
		r.checkNothingLost(tally)
		r.measure(tally)
		requests += tally.Ended
	}
	r.addNumbers("events=%d requests=%d", e.events, requests)
	e.stop()
}

// Each line that the app has written for an answered request is in one of the files that logrotate
// has made, once.
func TestExampleLogrotate(t *testing.T) {
	r := begin(t)
	e := copyExample(r, "logrotate")
	logs := r.env.Path("logs")
	r.must(os.Mkdir(logs, 0o755))
	for _, name := range []string{"tideover.toml", "shop"} {
		e.replace(name, "/var/log/shop", logs)
	}
	r.must(os.Chmod(filepath.Join(e.dir, "shop"), 0o644))
	e.vars[0] += ":/usr/sbin"
	answer := loadgen.Kind{Name: "order", Path: "/", Plain: true, Want: "order "}
	e.start("shop", answer)
	var answered [][]byte
	e.load = loadgen.Start(loadgen.Plan{Client: e.client, Rate: 30, Mix: []loadgen.Kind{answer}, Each: func(a loadgen.Answer) {
		if a.Loss == "" {
			answered = append(answered, bytes.TrimSpace(a.Body))
		}
	}})
	rotations := 0
	rotate := func() {
		r.Helper()
		grows := func(name string) {
			r.Helper()
			r.must(testenv.Poll(r.timeout(20*time.Second), 10*time.Millisecond, func() error {
				info, err := os.Stat(filepath.Join(logs, name))
				if err == nil && info.Size() == 0 {
					err = fmt.Errorf("%s is empty", name)
				}
				return err
			}))
		}
		grows("app.log")
		grows("access.log")
		if exit, out := e.command("logrotate", "--force", "--state", r.env.Path("logrotate.state"), filepath.Join(e.dir, "shop")); exit != 0 {
			r.Fatalf("logrotate: exit %d\n%s", exit, out)
		}
		rotations++
	}
	for range times(1) {
		rotate()
		e.throughEverything("shop.py")
		rotate()
		e.exits(0, "reload", "shop")
		rotate()
	}
	tally := e.load.Stop()
	e.measure(tally)
	e.checkNothingLost(tally)
	e.stop()
	files, err := filepath.Glob(logs + "/app.log*")
	r.must(err)
	written := map[string]int{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		r.must(err)
		if strings.HasSuffix(path, ".gz") {
			reader, err := gzip.NewReader(bytes.NewReader(text))
			r.must(err)
			text, err = io.ReadAll(reader)
			r.must(err)
		}
		for _, line := range regexp.MustCompile(`order [0-9a-f]{32}`).FindAllString(string(text), -1) {
			written[line]++
		}
	}
	lost, doubled := 0, 0
	for _, order := range answered {
		switch n := written[string(order)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	if lost+doubled > 0 || len(files) != min(rotations, 14)+1 {
		r.Errorf("of %d lines %d are lost and %d written twice, in %d files after %d rotations", len(answered), lost, doubled, len(files), rotations)
	}
	r.addNumbers("events=%d rotations=%d lines=%d lines_lost=%d %v", e.events, rotations, len(answered), lost, tally)
}
