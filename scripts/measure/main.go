package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"tideover/scripts/rig"
)

func main() {
	socket := flag.String("serve", "", "be the app, on this socket")
	quick := flag.Bool("quick", false, "short rounds, for a look")
	rounds := flag.Int("rounds", 5, "rounds")
	only := flag.String("only", "", "only this scenario: "+strings.Join(names(), ", "))
	kamal := flag.String("kamal", "", "a kamal-proxy binary, to be compared as well")
	out := flag.String("o", "", "write the results as Markdown to this file, and a plot beside it")
	flag.Parse()
	if *socket != "" {
		fail(serve(*socket))
	}
	if *only != "" && !slices.Contains(names(), *only) {
		fail(fmt.Errorf("no scenario %q; there are %s", *only, strings.Join(names(), ", ")))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		rig.EndRun()
		os.Exit(130)
	})
	fail(rig.Build(ctx, repository()))
	b := &bench{quick: *quick, rounds: *rounds, only: *only, kamal: *kamal}
	fail(b.run(ctx))
	if *out != "" {
		fail(b.report.write(*out))
	}
}

func repository() string {
	root, err := rig.Repository()
	fail(err)
	return root
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		rig.EndRun()
		os.Exit(1)
	}
}
