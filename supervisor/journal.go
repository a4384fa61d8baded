package supervisor

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/generation"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// appJournal is the record of one app for a later supervisor. It is a generation.Journal. Its methods
// may be called from any goroutine; those of one without a handoff.Journal do nothing.
type appJournal struct {
	journal *handoff.Journal // nil: no supervisor comes later
	name    string
	key     string // in the record
	logger  hclog.Logger

	mu     sync.Mutex
	record handoff.AppRecord
	begun  bool // it is in the record
	ended  bool
	failed bool // the last commit has
}

// newAppJournal returns the record of an app; restored may be nil. That of a new app is written from begin on.
func newAppJournal(s shared, name string, record handoff.AppRecord, restored *handoff.RestoredApp) *appJournal {
	j := &appJournal{journal: s.journal, name: name, key: strconv.FormatUint(uint64(record.ID), 10), logger: s.logger, record: record}
	if restored == nil {
		return j
	}
	j.record, j.begun = *restored.Record, true
	j.record.Hooks = nil
	j.record.Generations = slices.DeleteFunc(slices.Clone(j.record.Generations), func(g *handoff.GenerationRecord) bool {
		return g.Number != restored.Plan.Serve && !slices.ContainsFunc(restored.Plan.Stop, func(s handoff.StopPlan) bool { return s.Number == g.Number })
	})
	return j
}

// change changes the record, and returns when a later supervisor would know it.
func (j *appJournal) change(do func(*handoff.AppRecord)) {
	if j.journal == nil {
		return
	}
	j.mu.Lock()
	if j.ended {
		j.mu.Unlock()
		return
	}
	do(&j.record)
	if !j.begun {
		j.mu.Unlock()
		return
	}
	err := j.journal.SetApp(j.key, &j.record)
	j.mu.Unlock()
	j.commit(err)
}

// begin writes the record of an app that is new: a later supervisor has the app from here on.
func (j *appJournal) begin() {
	j.change(func(*handoff.AppRecord) { j.begun = true })
}

// commit returns when a later supervisor would know what was set; err is why that has failed.
func (j *appJournal) commit(err error) {
	if err == nil {
		err = j.journal.Commit()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil && !j.failed {
		j.logger.Error("cannot write the record", "app", j.name, "error", err, "hint", "if the supervisor dies now, another one restores what it was before")
	}
	j.failed = err != nil
}

// ofGeneration changes the record of a generation, if there is one.
func (j *appJournal) ofGeneration(number int, do func(*handoff.GenerationRecord)) {
	j.change(func(r *handoff.AppRecord) {
		if i := slices.IndexFunc(r.Generations, func(g *handoff.GenerationRecord) bool { return g.Number == number }); i >= 0 {
			changed := *r.Generations[i]
			do(&changed)
			r.Generations[i] = &changed
		}
	})
}

// Begin is that of generation.Journal.
func (j *appJournal) Begin(g *handoff.GenerationRecord) {
	j.change(func(r *handoff.AppRecord) {
		r.Generations = append(r.Generations, g)
		r.NextNumber = g.Number + 1
		if r.Operation != nil {
			o := *r.Operation
			o.To, r.Operation = g.Number, &o
		}
	})
}

// Forked is that of generation.Journal.
func (j *appJournal) Forked(number int, tree process.Record) {
	j.ofGeneration(number, func(g *handoff.GenerationRecord) { g.Tree = tree })
}

// Signal is that of generation.Journal.
func (j *appJournal) Signal(number int, kill time.Time) {
	j.ofGeneration(number, func(g *handoff.GenerationRecord) { g.Phase, g.Grace = handoff.Stopping, kill })
}

// Gone is that of generation.Journal.
func (j *appJournal) Gone(number int) {
	j.change(func(r *handoff.AppRecord) {
		r.Generations = slices.DeleteFunc(slices.Clone(r.Generations), func(g *handoff.GenerationRecord) bool { return g.Number == number })
	})
}

// HookBegins is that of generation.Journal.
func (j *appJournal) HookBegins(h handoff.HookRecord) {
	j.change(func(r *handoff.AppRecord) { r.Hooks = append(slices.Clone(r.Hooks), h) })
}

// HookEnded is that of generation.Journal.
func (j *appJournal) HookEnded(token string) {
	j.change(func(r *handoff.AppRecord) {
		r.Hooks = slices.DeleteFunc(slices.Clone(r.Hooks), func(h handoff.HookRecord) bool { return h.Token == token })
	})
}

// listens says where the app accepts.
func (j *appJournal) listens(l handoff.ListenerRecord) {
	j.change(func(r *handoff.AppRecord) { r.Listeners = append(otherListeners(r, l.Address), l) })
}

// takesListener is listens for an address of another app, which loses it in the same step.
func (j *appJournal) takesListener(l handoff.ListenerRecord, former *appJournal) {
	if j.journal == nil {
		return
	}
	former.mu.Lock()
	j.mu.Lock()
	former.record.Listeners = otherListeners(&former.record, l.Address)
	j.record.Listeners = append(otherListeners(&j.record, l.Address), l)
	changed := map[string]*handoff.AppRecord{}
	for _, each := range []*appJournal{former, j} {
		if each.begun && !each.ended {
			changed[each.key] = &each.record
		}
	}
	err := j.journal.SetApps(changed)
	j.mu.Unlock()
	former.mu.Unlock()
	j.commit(err)
}

func (j *appJournal) listensNoMore(address string) {
	j.change(func(r *handoff.AppRecord) { r.Listeners = otherListeners(r, address) })
}

// otherListeners are those of an app that have another address.
func otherListeners(r *handoff.AppRecord, address string) []handoff.ListenerRecord {
	return slices.DeleteFunc(slices.Clone(r.Listeners), func(l handoff.ListenerRecord) bool { return l.Address == address })
}

// end removes the record: nothing of the app is left.
func (j *appJournal) end() {
	if j.journal == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	_ = j.journal.SetApp(j.key, nil) // has no error
	_ = j.journal.Commit()           // the next one says so
}

// ready says that a generation is about to be the target of the app.
func (j *appJournal) ready(g *generation.Generation) {
	j.ofGeneration(g.Number, func(r *handoff.GenerationRecord) {
		r.Phase = handoff.Ready
		g.RecordReady(&r.GenerationState)
	})
}

// serves says that the relay has a generation as its target. The one before is out of service.
func (j *appJournal) serves(number int) {
	j.change(func(r *handoff.AppRecord) {
		for i, g := range r.Generations {
			changed := *g
			switch {
			case g.Number == number:
				changed.Phase = handoff.Serving
			case g.Phase == handoff.Serving:
				changed.Phase = handoff.Stopping
			}
			r.Generations[i] = &changed
		}
	})
}

// stops says that a generation is out of service, and when its drain ends at the latest.
func (j *appJournal) stops(number int, reason generation.StopReason, timeouts generation.StopTimeouts) {
	j.ofGeneration(number, func(g *handoff.GenerationRecord) {
		g.Phase, g.StopReason = handoff.Stopping, int(reason)
		g.Drain = time.Now().Add(timeouts.Drain)
		g.Tunnels = g.Drain.Add(timeouts.Tunnels)
	})
}

// journalState records what the app's goroutine knows.
func (a *App) journalState() {
	if a.journal.journal == nil || a.restoring {
		return
	}
	var leases []handoff.Lease
	for _, l := range a.leases.byName {
		leases = append(leases, handoff.Lease{Name: l.name, By: l.by, Length: l.length, Timeout: l.timeout, Began: l.began, Ends: l.until,
			Attached: l.name != operator, Token: l.id, Meter: l.requests.record()})
	}
	slices.SortFunc(leases, func(a, b handoff.Lease) int { return a.Began.Compare(b.Began) })
	var operation *handoff.Operation
	if o := a.queue.running; o != nil && o.operation != nil && o.verb != upgrading {
		operation = o.operation.record()
	}
	ended, waiting, endedHolds := a.queue.ended, a.queue.waitingRecord(), a.leases.ended
	settings := a.configurations.use(a.journal.key, a.settings.Origin())
	report := a.launcher.GunicornReport(a.settings)
	a.journal.change(func(r *handoff.AppRecord) {
		r.Settings, r.Gunicorn = settings, report
		r.Desired, r.Restart = a.restart.record(a.lastStatus)
		r.EndedHolds = endedHolds
		r.Leases, r.Last, r.Ended, r.Waiting = leases, a.queue.last, ended, waiting
		if operation != nil && r.Operation != nil && r.Operation.ID == operation.ID {
			operation.To = max(operation.To, r.Operation.To)
		}
		r.Operation = operation
	})
}

// desiredNames are the words of a record for what an app is to be.
var desiredNames = map[desired]handoff.Desired{desiredUp: handoff.Up, desiredStopped: handoff.Stopped, desiredFinished: handoff.Finished}

// record is what a later supervisor has to know.
func (r *restart) record(lastStatus int) (handoff.Desired, handoff.RestartState) {
	return desiredNames[r.desired], handoff.RestartState{FailedStarts: r.failedStarts, Exits: r.exits, Crashes: r.crashes, Crashed: r.crashed, Failed: r.failed,
		Reason: r.reason, Waits: len(r.dependencies) > 0, LastStatus: lastStatus}
}

// restore takes over what the former supervisor knew. An app that is to be up starts without a delay.
func (r *restart) restore(d handoff.Desired, s handoff.RestartState) {
	r.failedStarts, r.exits, r.crashes, r.crashed = s.FailedStarts, s.Exits, s.Crashes, s.Crashed
	switch d {
	case handoff.Stopped:
		r.setDown(desiredStopped, s.Reason, s.Failed)
	case handoff.Finished:
		r.setDown(desiredFinished, s.Reason, s.Failed)
	}
}
