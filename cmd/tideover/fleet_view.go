package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
)

// progress prints a line of key=value pairs for each host whose part has changed.
func (f *fleetClient) progress(r fleet.Rollout, shown map[string]fleet.TurnState) {
	if f.cli.quiet {
		return
	}
	for _, h := range r.Hosts {
		former, known := shown[h.Host]
		if former == h.State || !known && h.State == fleet.Waiting {
			continue
		}
		shown[h.Host] = h.State
		attrs := []api.Attr{api.String("host", h.Host), api.String("state", string(h.State))}
		if h.Done != nil && (h.State == fleet.Serving || h.State == fleet.Broken) {
			attrs = append(attrs, api.String("duration_s", term.Seconds(h.Done.Duration)), api.Int("held", h.Done.Held), api.Int("lost", h.Done.Lost))
		}
		line, _ := keyValues(attrs)
		fmt.Fprintln(f.cli.stderr, line)
	}
}

// show prints what a rollout has come to, and returns its exit code.
func (f *fleetClient) show(r fleet.Rollout) error {
	exit := api.ExitOK
	if r.Exit > 0 {
		exit = api.Exit(r.Exit)
	}
	c := f.cli
	if c.json {
		if err := c.writeDocument(r); err != nil {
			return err
		}
		return exitError(exit)
	}
	what := r.App
	if r.Revision != "" {
		what += " " + r.Revision
	}
	serving := 0
	for _, h := range r.Hosts {
		if h.State == fleet.Serving {
			serving++
		}
	}
	if !c.quiet || exit != api.ExitOK {
		fmt.Fprintf(c.stdout, "rollout %d of %s: %s; %d of %s done\n", r.ID, what, r.State, serving, term.Plural(len(r.Hosts), "host"))
		fmt.Fprint(c.stdout, turnTable(c.results(), r))
	}
	if r.Halt != nil {
		f.showHalt(r)
	}
	return exitError(exit)
}

func turnTable(s term.Screen, r fleet.Rollout) string {
	t := &term.Table{Columns: []term.Column{{Head: "HOST"}, {Head: "STATE"}, {Head: "TOOK", Right: true, Priority: 2}, {Head: "HELD", Right: true, Priority: 1}, {Head: "LOST", Right: true, Priority: 3}}}
	for _, h := range r.Hosts {
		took, held, lost := "", "", ""
		if h.Done != nil {
			took, held, lost = humanSeconds(h.Done.Duration), strconv.Itoa(h.Done.Held), strconv.Itoa(h.Done.Lost)
		}
		t.Add(term.Cells(h.Host, string(h.State), took, held, lost)...)
	}
	return t.Text(s)
}

func (f *fleetClient) showHalt(r fleet.Rollout) {
	s := f.cli.errors()
	h := r.Halt
	if h.Aborted {
		s.Message(term.Red, s.Mark("✗", "tideover:"), "aborted by "+h.By)
		printExit(s, api.ExitHalted)
		return
	}
	s.Message(term.Red, s.Mark("✗", "tideover:"), fmt.Sprintf("halted at %s: %s (exit %d)", h.Host, h.Reason, h.Exit))
	for _, line := range h.Output {
		fmt.Fprintf(s.Out, "    %s\n", term.Sanitize(line))
	}
	printHint(s, "the other hosts serve as before; when it is repaired: tideover rollout resume; else: tideover rollout abort")
	printExit(s, api.ExitHalted)
}

func (f *fleetClient) showHistory(v *fleet.View) error {
	past := v.Past()
	if f.cli.json {
		if past == nil {
			past = []fleet.Past{}
		}
		return f.cli.writeDocument(map[string]any{"rollouts": past})
	}
	t := &term.Table{Columns: []term.Column{{Head: "ID", Right: true}, {Head: "APP"}, {Head: "REVISION"}, {Head: "STATE"}, {Head: "HOSTS", Right: true}, {Head: "BY", Priority: 1}, {Head: "AT", Priority: 2}}}
	for _, p := range past {
		t.Add(term.Cells(strconv.Itoa(p.Wish.ID), p.Wish.App, p.Wish.Revision, string(p.State), fmt.Sprintf("%d/%d", p.Done, len(p.Wish.Members)), p.Wish.By, p.Wish.At)...)
	}
	fmt.Fprint(f.cli.stdout, t.Text(f.cli.results()))
	return nil
}

func (f *fleetClient) showHosts(v *fleet.View) error {
	report := v.Report(f.group)
	if f.cli.json {
		return f.cli.writeDocument(report)
	}
	t := &term.Table{Columns: []term.Column{{Head: "HOST"}, {Head: "APP"}, {Head: "STATE"}, {Head: "GENERATION", Right: true, Priority: 1}, {Head: "REVISION", Priority: 2}}}
	for _, h := range report.Hosts {
		for _, name := range slices.Sorted(maps.Keys(h.Apps)) {
			a := h.Apps[name]
			t.Add(term.Cells(h.Name, name, a.State, strconv.Itoa(a.Generation), a.Revision)...)
		}
	}
	fmt.Fprint(f.cli.stdout, t.Text(f.cli.results()))
	return nil
}
