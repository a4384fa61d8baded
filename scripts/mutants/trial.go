package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A meeting is a test that meets a mutant, and how long it takes without one.
type meeting struct {
	test string
	took time.Duration
}

// quick is how long the tests may take together that a mutant is tried on first.
const quick = 300 * time.Millisecond

// patience is what a trial gets beyond twice what its tests take: a mutant that makes them wait for ever was noticed.
const patience = 20 * time.Second

// meet runs every test by itself, without a mutant, and tells which tests meet which mutant, the quickest first.
func (g *garden) meet(ctx context.Context) (map[int][]meeting, error) {
	list, err := g.command(ctx, 0, "-test.list", "^(Test|Fuzz)").Output()
	if err != nil {
		return nil, err
	}
	met := map[int][]meeting{}
	note := filepath.Join(g.room, "met")
	for _, test := range strings.Fields(string(list)) {
		if err := os.WriteFile(note, nil, 0o600); err != nil {
			return nil, err
		}
		took, err := g.time(ctx, test, note)
		if err != nil {
			return nil, err
		}
		numbers, err := os.ReadFile(note)
		if err != nil {
			return nil, err
		}
		all := strings.Fields(string(numbers)) // once for each process that the test ran in
		slices.Sort(all)
		for _, number := range slices.Compact(all) {
			n, _ := strconv.Atoi(number)
			met[n] = append(met[n], meeting{test, took})
		}
	}
	for _, meetings := range met {
		slices.SortStableFunc(meetings, func(a, b meeting) int { return cmp.Compare(a.took, b.took) })
	}
	return met, nil
}

// time runs a test without a mutant and returns how long it takes. On a busy machine one may fail that does not fail again.
func (g *garden) time(ctx context.Context, test, note string) (took time.Duration, err error) {
	var said []byte
	for range 3 {
		run := g.command(ctx, 0, "-test.run", exactly(test))
		run.Env = append(run.Env, "MUTANTS_MET="+note)
		start := time.Now()
		if said, err = run.CombinedOutput(); err == nil {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("%s fails three times without any mutant: %w\n%s", test, err, said)
}

// try switches a mutant on and runs the tests that meet it. It returns the one that failed, or "" when none did.
func (g *garden) try(ctx context.Context, m mutant, meetings []meeting) (killer string, err error) {
	for len(meetings) > 0 && ctx.Err() == nil {
		n, took := 1, meetings[0].took
		for n < len(meetings) && took+meetings[n].took < quick {
			took += meetings[n].took
			n++
		}
		if n == len(meetings)-1 || took >= quick {
			for ; n < len(meetings); n++ { // what is left goes in one
				took += meetings[n].took
			}
		}
		if killer := g.run(ctx, m, meetings[:n], 2*took+patience); killer != "" {
			return killer, ctx.Err()
		}
		meetings = meetings[n:]
	}
	return "", ctx.Err()
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// run is one process of the test binary. It returns the test that failed.
func (g *garden) run(ctx context.Context, m mutant, tests []meeting, limit time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var names []string
	for _, t := range tests {
		names = append(names, t.test)
	}
	said, err := g.command(ctx, m.number, "-test.failfast", "-test.run", exactly(names...)).CombinedOutput()
	switch fail := failed.FindSubmatch(said); {
	case err == nil:
		return ""
	case fail != nil:
		return string(fail[1])
	case ctx.Err() != nil:
		return "the end of patience"
	case bytes.Contains(said, []byte("panic: ")):
		return "a panic"
	}
	return "the end of the process: " + err.Error()
}

// command runs the tests where they expect to run. When it has to be ended, so is what it started.
func (g *garden) command(ctx context.Context, number int, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, g.binary, args...)
	c.Dir = g.folder
	c.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(number))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	return c
}

func exactly(tests ...string) string { return "^(" + strings.Join(tests, "|") + ")$" }
