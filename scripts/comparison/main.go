// Comparison is the program behind scripts/compare: it reloads, restarts, kills and
// breaks the same app under the same load behind tideover and behind other
// software, and counts what the clients lost.
//
// peers.go lists the software and how it is configured; gunicorn.go, frontends.go
// and servers.go start it. steps.go has what is done to each, series.go and
// picture.go draw one run as a picture, report.go writes the tables.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tideover/scripts/testenv"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == socketUnitArg {
		os.Exit(runSocketUnit(os.Args[2], os.Args[3:]))
	}
	only := flag.String("only", "", "names of peers with commas; empty: all")
	readme := flag.String("readme", "", "README `FILE` in which the table is replaced")
	out := flag.String("o", "", "Markdown `FILE` for the tables")
	picture := flag.String("picture", "", "SVG `FILE`: one reload and restart of tideover, and one restart by supervisord")
	kamal := flag.String("kamal", "", "`BINARY` of kamal-proxy; empty: not compared")
	pm2 := flag.String("pm2", "", "`BINARY` of pm2; empty: not compared")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, testenv.EndRun)()
	var err error
	if *picture != "" {
		err = drawPicture(ctx, *picture)
	} else {
		err = compare(ctx, tools{kamal: *kamal, pm2: *pm2}, *only, *out, *readme)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// compare runs the steps for each peer, keeps the results, and writes the tables of all results that
// are kept.
func compare(ctx context.Context, t tools, only, out, readme string) error {
	root, err := testenv.Repository()
	if err != nil {
		return err
	}
	if err := testenv.Build(ctx, root); err != nil {
		return err
	}
	store := filepath.Join(root, ".local", "compare.json")
	kept, err := loadResults(store)
	if err != nil {
		return err
	}
	all := peers(t)
	for _, p := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) || p.start == nil {
			continue
		}
		r, err := run(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		kept[p.name] = r
		if err := kept.save(store); err != nil {
			return err
		}
		fmt.Println(r.line(p.name))
	}
	if readme != "" {
		if err := kept.writeReadme(readme, all); err != nil {
			return err
		}
	}
	text := kept.page(all)
	if out == "" {
		fmt.Print(text)
		return nil
	}
	return os.WriteFile(out, []byte(text), 0o644)
}
