//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tideover/scripts/testenv"
)

var (
	full   = flag.Bool("full", false, "run every row at its full size")
	faults = flag.Bool("faults", false, "run the rows of the fault matrix, and print it")
)

func TestMain(m *testing.M) {
	runAttackProgram()
	runBadProgram()
	flag.Parse()
	if *faults {
		flag.Set("test.run", faultPattern())
	}
	root, err := testenv.Repository()
	if err == nil {
		err = testenv.Build(context.Background(), root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		fmt.Println("--- FAIL: the program under test could not be built")
		os.Exit(1)
	}
	go endOnSignal()
	code := m.Run()
	removeShared()
	table.print(os.Stdout)
	if *faults && !table.printFaults(os.Stdout) {
		code = 1
	}
	os.Exit(code)
}

// endOnSignal kills the processes of every Env and removes the shared programs on
// Ctrl-C, because cleanups of tests do not run then.
func endOnSignal() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	<-asked
	testenv.EndRun()
	removeShared()
	os.Exit(130)
}

// results is the table that is printed at the end of a run.
type results struct {
	mu    sync.Mutex
	lines []result
}

type result struct {
	name, verdict, numbers string
	measured               measured
}

var table results

func (r *results) add(name, verdict, numbers string, m measured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, result{name, verdict, numbers, m})
	fmt.Printf("%s row=%s %s\n", verdict, name, numbers)
}

func (r *results) print(w *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sort.Slice(r.lines, func(i, j int) bool { return r.lines[i].name < r.lines[j].name })
	width := 0
	for _, line := range r.lines {
		width = max(width, len(line.name))
	}
	fmt.Fprintf(w, "\n%s\n", strings.Repeat("-", 78))
	for _, line := range r.lines {
		fmt.Fprintf(w, "%-4s  %-*s  %s\n", line.verdict, width, line.name, line.numbers)
	}
}
