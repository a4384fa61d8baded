package supervisor

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/process"
)

// The test binary is the child program, too: started with ZOO in its
// environment it becomes one of these animals. One that no test uses fails the
// run.
func zoo() map[string]func() {
	return map[string]func(){
		"web":      web,
		"broken":   func() { fmt.Fprintln(os.Stderr, "ImportError: no module named shop"); os.Exit(3) },
		"silent":   func() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM); forever() },
		"grumpy":   func() { signal.Ignore(syscall.SIGTERM); web() },
		"daddy":    daddy,
		"unwell":   func() { serve(http.StatusInternalServerError) },
		"worker":   func() { fmt.Println("working"); untilTerm() },
		"follower": followSwitch,
	}
}

// used remembers which animals the tests asked for.
var used sync.Map

func TestMain(m *testing.M) {
	process.Shim()
	if animal := os.Getenv("ZOO"); animal != "" {
		zoo()[animal]()
		return
	}
	code := m.Run()
	if code == 0 && len(os.Args) > 0 && !filtered() {
		for animal := range zoo() {
			if _, ok := used.Load(animal); !ok {
				fmt.Printf("FAIL: no test uses the animal %q\n", animal)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// filtered reports whether only some of the tests ran.
func filtered() bool {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.run") || strings.HasPrefix(arg, "-test.fuzz") || strings.HasPrefix(arg, "-test.skip") || strings.HasPrefix(arg, "-test.list") {
			return true
		}
	}
	return false
}

// followSwitch becomes what the file named by ZOO_SWITCH says at the moment of
// the start: that is how a deploy changes code in place.
func followSwitch() {
	animal, err := os.ReadFile(os.Getenv("ZOO_SWITCH"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	zoo()[strings.TrimSpace(string(animal))]()
}

func web() { serve(http.StatusOK) }

// serve answers on fd 3 like an app: after ZOO_IMPORT, with its release (the
// directory it runs in) and its pid. /slow takes until its pipe is opened.
func serve(status int) {
	if pause, err := time.ParseDuration(os.Getenv("ZOO_IMPORT")); err == nil {
		<-time.After(pause)
	}
	l, err := net.FileListener(os.NewFile(3, "private"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "no socket:", err)
		os.Exit(1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		os.ReadFile(r.FormValue("until")) // a pipe: until its other end was opened and closed
		fmt.Fprintf(w, "slow pid=%d", os.Getpid())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dir, _ := os.Getwd()
		w.WriteHeader(status)
		fmt.Fprintf(w, "pid=%d generation=%s dir=%s nonce=%s", os.Getpid(), os.Getenv("TIDEOVER_GENERATION"), dir, r.FormValue("nonce"))
	})
	server := &http.Server{Handler: mux}
	go func() {
		untilTerm()
		server.Close()
	}()
	server.Serve(l)
}

// daddy leaves a child in a session of its own, as a daemonising library
// would.
func daddy() {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	web()
}

func untilTerm() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	<-c
}

func forever() {
	for {
		<-time.After(time.Hour)
	}
}
