//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"strings"

	"tideover/scripts/loadgen"
)

// faultMatrix is what scripts/faults runs: the faults of real servers and machines, each with
// the rows that play it. A row without a load of its own has no numbers here; its line has
// what it counts.
var faultMatrix = []faultRow{
	{"F1 F2", "TestKillInMidRequest/worker", "kill -9 of a worker in a request, in a response"},
	{"F1b", "TestKillerRequest", "a request that kills its worker"},
	{"F3", "TestFaultMasterKilled", "kill -9 of the master"},
	{"F3-tree", "TestKillInMidRequest/tree", "kill -9 of all processes of the app"},
	{"F3-gevent", "TestKillGeventMaster", "kill -9 of a gevent master with requests in flight"},
	{"F3-often", "TestFrequentCrashesLoseNothing", "kill -9 of the master, again and again"},
	{"W", "TestFaultWorkersKilled", "kill -9 of a worker, one a second"},
	{"F4 F19", "TestFaultBrokenDeploys", "broken deploys in a row"},
	{"F5 F8", "TestFailedGenerationLeavesNothing", "an import that raises, hangs, leaves orphans or ignores SIGTERM"},
	{"F7", "TestNothingIsLeft", "double fork and setsid, SIGTERM ignored"},
	{"F10", "TestADeadGenerationIsReplaced/stopped", "SIGSTOP of all processes of the app"},
	{"F12", "TestADeadGenerationIsReplaced/listener_shut", "the app shuts its listening socket down and lives"},
	{"F12-hang", "TestADeadGenerationIsReplaced/master_hangs", "the master hangs, and its workers have died"},
	{"BUSY", "TestBusyWorkersAreLeftAlone", "all workers are busy, for longer than a death takes"},
	{"LEAK", "TestALeakingAppIsRecycled", "an app that leaks, with memory.max"},
	{"F10w", "TestFaultWorkerStopped", "SIGSTOP of a worker, gunicorn --timeout"},
	{"F13pub", "TestFaultSocketRemoved/public", "the file of a public socket is removed"},
	{"F13", "TestFaultSocketRemoved/private", "the file of a private socket is removed"},
	{"CTLGONE", "TestFaultSocketRemoved/control", "the files of the control socket are removed"},
	{"F13-up", "TestFaultSocketRemovedBeforeAnUpgrade", "files of sockets are removed before an upgrade"},
	{"F17", "TestTheReaderOfTheOutputStopsReading", "the output is not read: reload, crash, 400, TERM"},
	{"F17-crash", "TestACrashOfTideoverEndsItWhateverReadsItsOutput", "a crash of tideover whose output is not read"},
	{"F20", "TestFaultManyReloads", "reloads in a row"},
	{"QUEUE", "TestBusyQueue", "an operation with a queue before the workers"},
	{"QUEUE-HUP", "TestBusyQueueOfGunicornAlone", "the same: kill -HUP of gunicorn alone"},
	{"SSE", "TestReloadReturnsWhileAStreamIsOpen", "a reload while a stream is open"},
	{"F25 F26", "TestReloadsAtOnce", "reloads at once"},
	{"F31", "TestHoldLimitRefusesTheRest", "more clients than hold.limit"},
	{"F32", "TestThousandHeld", "thousands of held requests are released"},
	{"F33", "TestClientLeavesWhileHeld", "clients leave while they are held"},
	{"F27e", "TestFaultEmptyConfiguration", "a configuration without apps: apply, HUP"},
	{"F36", "TestFaultReleaseSwapped", "the symlink of the release is swapped all the time"},
	{"F37", "TestFaultReleaseDeleted", "the release that runs is deleted"},
	{"F38", "TestAMemberOfTheGroupCannotShutRootOut", "silent clients of the control socket"},
	{"F47", "TestFaultStateCannotBeSaved", "reloads that cannot be recorded, then kill -9 of tideover"},
	{"F53", "TestSuspendedMachineTimesOutNothing", "SIGSTOP of tideover and of the app, longer than every timeout"},
	{"F53h", "TestStoppedDaemonExpiresNoRequest", "SIGSTOP of tideover in a restart, longer than hold.timeout"},
	{"F54", "TestFaultDaemonKilled", "kill -9 of tideover, started again at once"},
	{"SUPERVISOR", "TestFaultSupervisorKilled", "kill -9 of the supervisor, some in a hold, a reload and a hook"},
	{"SUPERVISOR-op", "TestFaultSupervisorKilledInAnOperation", "kill -9 of the supervisor in what a command has asked for"},
	{"SUPERVISOR-log", "TestFaultSupervisorKilledInARotation", "kill -9 of the supervisor while a log is rotated"},
	{"UPGRADES", "TestFaultUpgradesUnderLoad", "upgrades one after the other, with websockets and idle connections"},
	{"F54-left", "TestDaemonKilled", "kill -9 of tideover: its processes"},
	{"RELAY", "TestFaultRelayKilled", "kill -9 of the relay, every other time while requests are held"},
	{"F60", "TestUpgrade", "upgrades under load"},
	{"F60bad", "TestFaultBadUpgrade", "a new tideover that ends, crashes or hangs when it is to take over"},
	{"F60ws", "TestUpgradeKeepsConnections", "upgrades with idle and long connections"},
	{"F61", "TestUpgradeWhileHeld", "an upgrade while requests are held"},
	{"MAXREQ", "TestFaultMaxRequests", "workers that end after five requests"},
	{"KEEPALIVE", "TestFaultKeepAliveEnds", "the app closes idle connections after 1 s"},
	{"PROTO", "TestFaultOldProtocol", "HTTP/1.0 and kept connections over reload, restart, kill -9"},
	{"UP", "TestFaultUploadsHeld", "uploads are held at once"},
	{"CRASH", "TestCrashLoopAnswers503", "an app that cannot start any more"},
}

// faultRow is one fault.
type faultRow struct {
	id    string
	test  string // of it and of its subtests
	fault string
}

// pattern is the one of -run for the rows of the matrix.
func faultPattern() string {
	var all []string
	for _, f := range faultMatrix {
		all = append(all, "^"+strings.ReplaceAll(f.test, "/", "$/^")+"$")
	}
	return strings.Join(all, "|")
}

// measured is what a row has counted.
type measured struct {
	tally   loadgen.Tally
	counted bool // there is a tally
	doubled int  // requests that the app began twice although they must not be sent again
	checked bool // that was looked at
}

// measure adds the tally of a load to the numbers of the row.
func (r *row) measure(t loadgen.Tally) {
	m := &r.measured
	m.counted = true
	m.tally.Ended += t.Ended
	m.tally.Right += t.Right
	m.tally.Longest = max(m.tally.Longest, t.Longest)
}

// printFaults prints the matrix: N requests, lost without a complete right answer, begun twice,
// and the longest time to an answer. It reports whether each row of the matrix has run.
func (r *results) printFaults(w io.Writer) (complete bool) {
	complete = true
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(w, "\n%-10s %7s %5s %7s %8s  %-4s  %s\n", "row", "N", "lost", "doubled", "longest", "", "fault")
	for _, f := range faultMatrix {
		name, ran := strings.TrimPrefix(f.test, "Test"), false
		for _, line := range r.lines {
			if rest, ok := strings.CutPrefix(line.name, name); ok && (rest == "" || rest[0] == '/') {
				text := f.fault + strings.ReplaceAll(rest, "/", ", ")
				if !line.measured.counted && line.numbers != "" {
					text += ": " + line.numbers
				}
				fmt.Fprintf(w, "%-10s %s  %-4s  %s\n", f.id, line.measured, line.verdict, text)
				ran = true
			}
		}
		if !ran {
			fmt.Fprintf(w, "%-10s %s  %-4s  %s: there is no row %s\n", f.id, measured{}, "FAIL", f.fault, f.test)
			complete = false
		}
	}
	return complete
}

func (m measured) String() string {
	n, lost, doubled, longest := "-", "-", "-", "-"
	if m.counted {
		n, lost, longest = fmt.Sprint(m.tally.Ended), fmt.Sprint(m.tally.Lost()), fmt.Sprintf("%.2f s", m.tally.Longest.Seconds())
	}
	if m.checked {
		doubled = fmt.Sprint(m.doubled)
	}
	return fmt.Sprintf("%7s %5s %7s %8s", n, lost, doubled, longest)
}
