package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A report is what a run measured, and on what.
type report struct {
	date     time.Time
	rounds   int
	quick    bool
	load     string // of the machine when it began, as the kernel says it
	since    processorTime
	versions []string
	tables   []*table
}

func (r *report) begin(b *bench) {
	r.date, r.rounds, r.quick, r.load = time.Now(), b.rounds, b.quick, loadAverage()
	r.since = readProcessorTime()
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	r.versions = []string{fmt.Sprintf("Linux %s, %d processors, %s", strings.TrimSpace(string(kernel)), runtime.NumCPU(), runtime.Version())}
	for _, argv := range [][]string{{"nginx", "-v"}, {"haproxy", "-v"}, {"caddy", "version"}, {"apache2", "-v"}, {"wrk", "-v"}} {
		cmd := exec.Command("/usr/bin/env", argv...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
		out, _ := cmd.CombinedOutput()
		first, _, _ := strings.Cut(string(out), "\n")
		for _, noise := range []string{"nginx version: ", "HAProxy version ", "Server version: "} {
			first = strings.TrimPrefix(first, noise)
		}
		first, _, _ = strings.Cut(first, " - ")
		first, _, _ = strings.Cut(first, " [")
		if !strings.HasPrefix(strings.ToLower(first), argv[0][:min(5, len(argv[0]))]) {
			first = argv[0] + " " + first
		}
		r.versions = append(r.versions, first)
	}
	fmt.Printf("%s\n%d rounds\n", strings.Join(r.versions, "; "), r.rounds)
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// explanation stands above the tables.
const explanation = "All servers ran side by side on the same machine, which the clients and the app shared with them;\n" +
	"only ratios inside one table mean anything. `ratio` is against the best of nginx and HAProxy with one\n" +
	"and two workers, and where gunicorn is the app, against gunicorn alone. `client's` is the CPU time of\n" +
	"the client for the same request. The number behind a server's name is that of its workers or threads;\n" +
	"`tideover-tcp` reaches its app over TCP, the default for other servers than gunicorn, all others over a\n" +
	"unix socket. Access logs are off. The scenarios `wrk-*` have wrk as the load generator, with one thread;\n" +
	"all others have our own, which checks every response. Two builds of tideover are compared by\n" +
	"`scripts/bench --before BINARY`.\n\n"

// write writes the tables as Markdown, and a plot of the ratios beside it.
func (r *report) write(path string) error {
	var b strings.Builder
	plot := strings.TrimSuffix(path, ".md") + ".svg"
	fmt.Fprintf(&b, "# What tideover costs\n\n*Measured by `scripts/bench` on %s: medians of %d interleaved rounds. %s.*\n\n",
		r.date.Format("2006-01-02"), r.rounds, strings.Join(r.versions, "; "))
	fmt.Fprintf(&b, "The machine's load average over the minute before was %s. Its host took %.0f %% of its processors' time for others\n"+
		"meanwhile (steal), which makes all figures larger and less even.\n\n", r.load, r.since.stolenSince())
	b.WriteString(explanation)
	fmt.Fprintf(&b, "![CPU compared with the best of nginx and HAProxy](%s)\n", filepath.Base(plot))
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s", t.name, strings.ToUpper(t.title[:1])+t.title[1:], markdown(t.cells()))
	}
	if rows := r.comparisonRows(); len(rows) > 1 {
		fmt.Fprintf(&b, "\n## now / before\n\nWhat the binary built now costs, as a ratio to the one before; above %.2f is worse.\n\n%s", maxRatio, markdown(rows))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(plot, []byte(r.plot()), 0o644)
}
