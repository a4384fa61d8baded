package proxy

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// portableEngine is set in the second of two runs: every test runs on both engines.
const portableEngine = "RELAY_ENGINE=portable"

func onPortable() bool { return os.Getenv("RELAY_ENGINE") == "portable" }

// TestMain runs the tests on the parked engine, then again on the portable one, which is its oracle.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.list").Value.String() != ""
	if code != 0 || onPortable() || fuzzing {
		os.Exit(code)
	}
	again := exec.Command(os.Args[0], os.Args[1:]...)
	again.Env = append(os.Environ(), portableEngine)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	fmt.Println("again, on the portable engine")
	if err := again.Run(); err != nil {
		os.Exit(1)
	}
}

// everyClient does something to the clients of either engine.
func (r *rig) everyClient(do func(*client)) {
	r.server.each(do)
	if l := r.server.loop; l != nil {
		l.ask(func() {
			for i := range l.slots {
				if c := l.slots[i].client; c != nil {
					do(c)
				}
			}
		})
	}
}
