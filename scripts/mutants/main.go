package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// known is where the mutants are listed that nobody can notice, each with its reason.
const known = "scripts/mutants/equivalent.txt"

func main() {
	verbose := flag.Bool("v", false, "tell of every mutant which test noticed it")
	workers := flag.Int("j", 2, "how many mutants are tried at once")
	place := flag.String("only", "", "try those only whose file, function and source match this `pattern`")
	flag.Parse()
	only, err := regexp.Compile(*place)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	folders := flag.Args()
	if len(folders) == 0 {
		folders = []string{"proxy/http1", "proxy"}
	}
	code := 0
	for _, folder := range folders {
		faults, err := judge(ctx, folder, only, *workers, *verbose)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			code = 2
			break
		}
		if faults > 0 {
			code = 1
		}
	}
	stop()
	os.Exit(code)
}

// judge tries the mutants of one package whose place matches only, prints what became of them and returns how many faults there are:
// mutants that nobody noticed, and excuses for checks that are not there.
func judge(ctx context.Context, folder string, only *regexp.Regexp, workers int, verbose bool) (faults int, err error) {
	room, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(room)
	excused, err := excuses(folder)
	if err != nil {
		return 0, err
	}
	g, err := newGarden(ctx, folder, room)
	if err != nil {
		return 0, err
	}
	met, err := g.meet(ctx)
	if err != nil {
		return 0, err
	}
	v := verdict{folder: folder, excused: excused, verbose: verbose}
	err = g.tryAll(ctx, met, only, workers, v.add)
	for text := range excused {
		if !g.has(text) {
			v.faults++
			fmt.Printf("stale     %s %s: there is no such check; delete it from %s\n", folder, text, known)
		}
	}
	fmt.Printf("%s: %d mutants, %d killed, %d equivalent, %d survivors\n", folder, v.tried, v.killed, v.equivalent, v.survivors)
	return v.faults, err
}

// A verdict is the sum of what became of a package's mutants.
type verdict struct {
	folder  string
	excused map[string]struct{}
	verbose bool

	mu                                           sync.Mutex
	tried, killed, equivalent, survivors, faults int
}

// add counts one mutant, and tells of it when it was not noticed.
func (v *verdict) add(m mutant, meetings []meeting, killer string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := fmt.Sprintf("%s/%s:%d", v.folder, m.file, m.line)
	_, isExcused := v.excused[m.String()]
	v.tried++
	switch {
	case killer != "" && isExcused:
		v.killed++
		fmt.Printf("noticed   %s %s, by %s: it need not be in %s\n", at, m.what, killer, known)
	case killer != "":
		v.killed++
		if v.verbose {
			fmt.Printf("killed    %s %s, by %s\n", at, m.what, killer)
		}
	case isExcused:
		v.equivalent++
	default:
		v.survivors++
		v.faults++
		fmt.Printf("survivor  %s %s: %s%s\n", at, m.within, m.what, unmet(meetings))
	}
}

func unmet(meetings []meeting) string {
	if len(meetings) == 0 {
		return " (it never decides)"
	}
	return ""
}

// tryAll tries the mutants whose place matches only, several at once, and tells of each.
func (g *garden) tryAll(ctx context.Context, met map[int][]meeting, only *regexp.Regexp, workers int, tell func(mutant, []meeting, string)) error {
	var running sync.WaitGroup
	next := make(chan mutant)
	for range workers {
		running.Go(func() {
			for m := range next {
				if killer, err := g.try(ctx, m, met[m.number]); err == nil {
					tell(m, met[m.number], killer)
				}
			}
		})
	}
	for _, m := range g.mutants {
		if !only.MatchString(m.String()) {
			continue
		}
		select {
		case next <- m:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	return ctx.Err()
}

func (g *garden) has(text string) bool {
	return slices.ContainsFunc(g.mutants, func(m mutant) bool { return m.String() == text })
}

// excuses reads the mutants of a package that may survive: lines "FOLDER FILE FUNCTION: SOURCE", each under a comment with the reason.
func excuses(folder string) (map[string]struct{}, error) {
	f, err := os.Open(known)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	excused := map[string]struct{}{}
	reason := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch text, ours := strings.CutPrefix(line, folder+" "); {
		case line == "":
			reason = false
		case line[0] == '#':
			reason = true
		case !reason:
			return nil, fmt.Errorf("%s: no reason above %q", known, line)
		case ours:
			excused[text] = struct{}{}
		}
	}
	return excused, nil
}
