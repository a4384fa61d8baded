package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// known is where the mutants are listed that nobody can notice, each with its reason.
const known = "scripts/mutants/equivalent.txt"

func main() {
	verbose := flag.Bool("v", false, "tell of every mutant which test noticed it")
	workers := flag.Int("j", 2, "how many mutants are tried at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	folders := flag.Args()
	if len(folders) == 0 {
		folders = []string{"proxy/http1", "proxy"}
	}
	code := 0
	for _, folder := range folders {
		left, err := judge(ctx, folder, *workers, *verbose)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			code = 2
			break
		}
		if left > 0 {
			code = 1
		}
	}
	stop()
	os.Exit(code)
}

// judge tries all mutants of one package, prints what became of them and returns how many were noticed by nobody.
func judge(ctx context.Context, folder string, workers int, verbose bool) (left int, err error) {
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
	killers, err := g.tryAll(ctx, met, workers)
	if err != nil {
		return 0, err
	}
	killed, equivalent := 0, 0
	for i, m := range g.mutants {
		at := fmt.Sprintf("%s/%s:%d", folder, m.file, m.line)
		_, isExcused := excused[m.String()]
		switch {
		case killers[i] != "":
			killed++
			if verbose {
				fmt.Printf("killed    %s %s, by %s\n", at, m.what, killers[i])
			}
			if isExcused {
				fmt.Printf("noticed   %s %s, by %s: it need not be in %s\n", at, m.what, killers[i], known)
			}
		case isExcused:
			equivalent++
		default:
			left++
			fmt.Printf("survivor  %s %s: %s%s\n", at, m.within, m.what, unmet(met[m.number]))
		}
		delete(excused, m.String())
	}
	for text := range excused {
		fmt.Printf("stale     %s %s: there is no such check; delete it from %s\n", folder, text, known)
	}
	fmt.Printf("%s: %d mutants, %d killed, %d equivalent, %d survivors\n", folder, len(g.mutants), killed, equivalent, left)
	return left + len(excused), nil
}

func unmet(meetings []meeting) string {
	if len(meetings) == 0 {
		return " (it never decides)"
	}
	return ""
}

// tryAll tries every mutant; what it returns has their order.
func (g *garden) tryAll(ctx context.Context, met map[int][]meeting, workers int) ([]string, error) {
	killers := make([]string, len(g.mutants))
	var running sync.WaitGroup
	next := make(chan int)
	for range workers {
		running.Go(func() {
			for i := range next {
				killers[i], _ = g.try(ctx, g.mutants[i], met[g.mutants[i].number])
			}
		})
	}
	for i := range g.mutants {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	return killers, ctx.Err()
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
