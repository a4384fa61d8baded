package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"tideover/scripts/testenv"
)

func main() {
	socket := flag.String("serve", "", "be the app, on this socket")
	quick := flag.Bool("quick", false, "short rounds, for a look")
	rounds := flag.Int("rounds", 5, "rounds")
	only := flag.String("only", "", "only these scenarios, separated by commas: "+strings.Join(names(), ", "))
	before := flag.String("before", "", "another tideover binary, to be compared with the one built now; alone with it unless -peers says otherwise")
	peers := flag.String("peers", "", "the servers beside tideover, separated by commas: all, none or of "+strings.Join(peerNames(), ", "))
	kamal := flag.String("kamal", "", "a kamal-proxy binary, to be compared as well")
	out := flag.String("o", "", "write the results as Markdown to this file, and a plot beside it")
	flag.Parse()
	if *socket != "" {
		fail(serve(*socket))
	}
	b := &bench{quick: *quick, rounds: *rounds, kamal: *kamal, before: *before}
	fail(b.choose(*only, *peers))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		testenv.EndRun()
		os.Exit(130)
	})
	fail(testenv.Build(ctx, repository()))
	if b.before != "" {
		if err := realtime(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: without real-time priority other work on this machine disturbs the comparison:", err)
		}
	}
	fail(b.run(ctx))
	if *out != "" {
		fail(b.report.write(*out))
	}
}

func repository() string {
	root, err := testenv.Repository()
	fail(err)
	return root
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		testenv.EndRun()
		os.Exit(1)
	}
}
