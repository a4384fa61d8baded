package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"tideover/scripts/testenv"
)

func main() {
	socket := flag.String("serve", "", "be the app, on this socket")
	quick := flag.Bool("quick", false, "short rounds, for a look")
	rounds := flag.Int("rounds", 5, "rounds")
	only := flag.String("only", "", "only these scenarios, separated by commas: "+strings.Join(scenarioNames(), ", "))
	before := flag.String("before", "", "another tideover binary, to be compared with the one built now; alone with it unless -peers says otherwise")
	peers := flag.String("peers", "", "the servers beside tideover, separated by commas: all, none or of "+strings.Join(peerNames(), ", "))
	kamal := flag.String("kamal", "", "a kamal-proxy binary, to be compared as well")
	out := flag.String("o", "", "write the results as Markdown to this file, and a plot beside it")
	flag.Parse()
	if *socket != "" {
		check(serve(*socket))
	}
	b := &bench{quick: *quick, rounds: *rounds, out: *out, kamal: *kamal, before: *before}
	check(b.choose(*only, *peers))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		testenv.EndRun()
		os.Exit(130)
	})
	root, err := testenv.Repository()
	check(err)
	check(testenv.Build(ctx, root))
	if b.before != "" {
		if err := realtime(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: without real-time priority other work on this machine disturbs the comparison:", err)
		}
	}
	debug.SetGCPercent(1000) // the clients share the machine with the servers, and memory is not short
	check(b.run())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		testenv.EndRun()
		os.Exit(1)
	}
}
