package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report is what a run measured, and on what.
type report struct {
	date     time.Time
	rounds   int
	quick    bool
	planned  []string // scenarios
	load     string   // of the machine when it began, as the kernel says it
	since    processorTime
	versions []string
	tables   []*table
}

func (r *report) begin(b *bench) {
	r.date, r.rounds, r.quick, r.planned, r.load = time.Now(), b.rounds, b.quick, b.only, loadAverage()
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
const explanation = `All servers ran side by side on one machine, which the clients and the app shared with them, so that
only the figures of one table can be compared. The number behind a server's name is that of its
workers or threads. tideover reaches its app over a unix socket, as the others do, and as
tideover-tcp over TCP, which is the default for other servers than gunicorn. Access logs are off.

- ratio: the figure before it, divided by that of the best of nginx and HAProxy with one and two
  workers; where the app is gunicorn, by that of gunicorn alone.
- CPU is the time of all processes of a server, user and system; "client's" is that of the load
  generator for the same request.
- p50, p99, p99.9, longest: how long requests waited, from before they were sent to the last byte of
  the response. "added p50" is less the median of the same requests sent to the app directly. Of the
  6,000 requests of a round at 3,000 a second p99.9 is the sixth longest, and of the 2,000 at 500 a
  second the second: one stall of the machine decides it (decision 0017).
- late: by how much the load generator sent a request too late, at most. More than a few
  milliseconds mean that other work disturbed the round.
- failed: requests without a complete and right response.
- held: memory is the proportional set size (PSS); "µs/held" is all CPU for a request, from its first
  byte to its response; "CPU" is used while all wait; "drained" is the time from the release to the
  last response, and "gunicorn alone" how long gunicorn takes for as many without a relay.

The scenarios wrk-* have wrk as the load generator, on one thread, which checks the status of a
response; all others have our own, which checks every byte.

`

// write writes the tables that there are as Markdown, and a plot of the ratios beside it, where a
// path is given.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	var b strings.Builder
	plot := strings.TrimSuffix(path, ".md") + ".svg"
	fmt.Fprintf(&b, "# What tideover costs\n\n*Measured by `scripts/bench` on %s: medians of %d interleaved rounds. %s.*\n\n",
		r.date.Format("2006-01-02"), r.rounds, strings.Join(r.versions, "; "))
	fmt.Fprintf(&b, "%s\n\n", r.circumstances())
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

// circumstances says under which the tables were made.
func (r *report) circumstances() string {
	said := []string{"The machine's load average over the minute before was " + r.load + "."}
	if stolen := r.since.stolenSince(); stolen >= 0.5 {
		said = append(said, fmt.Sprintf("Its host took %.0f %% of its processors' time for other machines meanwhile (steal), which makes all\nfigures larger and less even.", stolen))
	} else {
		said = append(said, "Its host took none of its processors' time for other machines meanwhile (steal).")
	}
	if r.quick {
		said = append(said, "The rounds were short (`--quick`).")
	}
	var missing []string
	for _, name := range r.planned {
		if !slices.ContainsFunc(r.tables, func(t *table) bool { return t.name == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		said = append(said, "The run ended before: "+strings.Join(missing, ", ")+".")
	}
	return strings.Join(said, "\n")
}
