package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"
)

// result is what one run of a peer gave.
type result struct {
	Date    time.Time
	Version string
	Steps   map[string]count
}

// results are the last ones of each peer, by its name.
type results map[string]result

func loadResults(path string) (results, error) {
	all := results{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

func (all results) save(path string) error {
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// cell is a count as a cell of the table: the lost requests, and the longest wait where it is long.
func (r result) cell(step string) string {
	n, ok := r.Steps[step]
	if !ok {
		return "-"
	}
	text := fmt.Sprintf("%d · %.1f s", n.Lost, n.Longest.Seconds())
	if n.Lost == 0 {
		text = "**0** " + strings.TrimPrefix(text, "0 ")
	}
	if n.Down {
		text += ", stays down"
	}
	if n.Stale {
		text += ", old code answers for more than 15 s"
	}
	return text
}

func (r result) line(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", name, r.Version)
	for _, step := range stepNames {
		if n, ok := r.Steps[step]; ok {
			fmt.Fprintf(&b, "\n  %-8s lost %4d of %4d, longest %5.1f s, exit %d, down %v stale %v %s", step, n.Lost, n.Requests, n.Longest.Seconds(), n.Exit, n.Down, n.Stale, n.Ways)
		}
	}
	return b.String()
}

// page has the tables as Markdown.
func (all results) page(peers []peer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Comparison\n\nMade by `scripts/compare`; %s, %s, %d processors.\n\n", all.dates(), kernel(), runtime.NumCPU())
	fmt.Fprintf(&b, explanation, rate, importTakes, workers, int(brokenFor.Seconds()), queued)
	b.WriteString("## Lost requests · longest wait\n\n" + all.table(peers))
	b.WriteString("\n## Requests, and the kinds of losses\n\n| | requests | |\n|---|---|---|\n")
	for _, p := range peers {
		r, ok := all[p.name]
		if !ok {
			continue
		}
		requests, ways := 0, []string{}
		for _, step := range stepNames {
			n := r.Steps[step]
			if requests += n.Requests; n.Lost > 0 {
				ways = append(ways, step+": "+n.Ways)
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %s |\n", p.name, requests, strings.Join(ways, "; "))
	}
	b.WriteString("\n## How each was configured\n\n| | version | |\n|---|---|---|\n")
	for _, p := range peers {
		if r, ok := all[p.name]; ok {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", p.name, r.Version, p.how)
		} else {
			fmt.Fprintf(&b, "| %s | not compared: %s | %s |\n", p.name, p.without, p.how)
		}
	}
	return b.String()
}

// table has a row for each peer that was compared.
func (all results) table(peers []peer) string {
	var b strings.Builder
	b.WriteString("| | reload | restart | crash | broken deploy | its exit code | deploy behind a queue |\n|---|---|---|---|---|---|---|\n")
	for _, p := range peers {
		r, ok := all[p.name]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "| %s |", p.name)
		for _, step := range stepNames {
			fmt.Fprintf(&b, " %s |", r.cell(step))
			if step == "broken" {
				fmt.Fprintf(&b, " %d |", r.Steps[step].Exit)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

const tableBegin, tableEnd = "<!-- comparison: written by scripts/compare -->\n", "<!-- end -->"

// writeReadme replaces the table in a README.
func (all results) writeReadme(path string, peers []peer) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q", path, strings.TrimSpace(tableBegin), tableEnd)
	}
	return os.WriteFile(path, []byte(before+tableBegin+"\n"+all.table(peers)+"\n"+tableEnd+after), 0o644)
}

// explanation stands above the tables.
const explanation = `The same app, with the same load: %d requests a second, GET and POST, each on a connection of its own. The
client checks each body; a request is lost that gets no complete and correct answer within 60 s,
and none is sent again. The app takes %d s to import and has %d workers. One run of each step:

- reload: the next release is deployed without a stop ("-": there is no such command)
- restart: the app is stopped and started
- crash: kill -9 of its main process (Passenger: of all its processes). "stays down": nothing starts
  it again; an operator does so after 15 s
- broken deploy: a release that cannot be imported is deployed, by a reload where there is one; after %d s
  the next release, which can
- deploy behind a queue: %d requests of 1 s each occupy all workers, and others wait behind them

The exit code is that of the command that deploys; 0 says that all is well.

`

// dates are those of the oldest and the newest result.
func (all results) dates() string {
	var oldest, newest time.Time
	for _, r := range all {
		if oldest.IsZero() || r.Date.Before(oldest) {
			oldest = r.Date
		}
		if r.Date.After(newest) {
			newest = r.Date
		}
	}
	first, last := oldest.Format("2 January 2006"), newest.Format("2 January 2006")
	if first == last {
		return last
	}
	return first + " to " + last
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(text))
}
