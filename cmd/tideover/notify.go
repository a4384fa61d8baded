package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
)

const (
	// statusPeriod is how often systemd hears of the counts, if they changed.
	statusPeriod = 5 * time.Second
	// extension is how much longer systemd is asked to wait while we start or
	// drain: it is asked again before.
	extension = 3 * statusPeriod
	// readyMargin is added to the longest ready.timeout: then READY is said
	// whatever the apps do.
	readyMargin = 5 * time.Second
)

// kept is what systemd wants to know of the supervisor.
type kept interface {
	Status(selectors ...string) (api.Status, error)
	Begun() bool
	Accepting(ctx context.Context) error
	Leaving() <-chan struct{}
}

// notifier tells systemd how the daemon stands, as sd_notify(3) says:
//
//   - READY when the doors are open and every app that is to run has answered
//     or failed once; at the latest after the longest ready.timeout. A broken
//     app never keeps the service from starting: it is in STATUS.
//   - RELOADING and READY around a reload that a signal or `apply` asked for.
//   - WATCHDOG only after every door has shown that it accepts, and every app's
//     gate and counters could be read.
//   - STOPPING, and more time for as long as the drain goes on.
//
// A nil notifier is that of a daemon nobody listens to.
type notifier struct {
	sup      kept
	logger   hclog.Logger
	send     func(state string) error
	patience time.Duration // until READY at the latest
	watchdog time.Duration // systemd's patience; 0: none
	said     string        // the last STATUS

	mu      sync.Mutex // guards ready and reloads, and the order of what they cause
	ready   bool
	reloads int
}

// newNotifier is nil without NOTIFY_SOCKET.
func newNotifier(d *daemon, sup kept) *notifier {
	if d.cli.getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	n := &notifier{sup: sup, logger: d.logger, send: notify, patience: readyMargin}
	for _, app := range d.file.Apps {
		n.patience = max(n.patience, app.Ready.Timeout+readyMargin)
	}
	watchdog, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.logger.Warn("systemd's watchdog is not served", "error", err)
	}
	n.watchdog = watchdog
	return n
}

func notify(state string) error {
	_, err := sd.SdNotify(false, state)
	return err
}

// tell sends assignments in one message.
func (n *notifier) tell(assignments ...string) {
	if err := n.send(strings.Join(assignments, "\n")); err != nil {
		n.logger.Warn("systemd does not hear us", "said", assignments[0], "error", err)
	}
}

// run speaks to systemd until the daemon is over.
func (n *notifier) run(over context.Context) {
	if n == nil {
		return
	}
	n.start(over)
	if !isClosed(n.sup.Leaving()) {
		n.serve(over)
	}
	n.stop(over)
}

// start waits for the first answers.
func (n *notifier) start(over context.Context) {
	look, more := time.NewTicker(lookPeriod), time.NewTicker(statusPeriod)
	defer look.Stop()
	defer more.Stop()
	latest := time.NewTimer(n.patience)
	defer latest.Stop()
	n.tell("STATUS=starting", extend())
	for !n.sup.Begun() {
		select {
		case <-over.Done():
			return
		case <-n.sup.Leaving():
			return
		case <-more.C:
			n.tell(n.status(), extend())
			continue
		case <-look.C:
			continue
		case <-latest.C:
		}
		break
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.tell("READY=1", fmt.Sprintf("MAINPID=%d", os.Getpid()), n.status())
}

// serve tells the counts, and proves that the daemon lives.
func (n *notifier) serve(over context.Context) {
	period := statusPeriod
	if n.watchdog > 0 {
		period = min(period, n.watchdog/4)
	}
	beat := time.NewTicker(period)
	defer beat.Stop()
	for {
		if n.watchdog > 0 && n.lives(over) {
			n.tell("WATCHDOG=1")
		}
		if before := n.said; n.status() != before {
			n.tell(n.said)
		}
		select {
		case <-over.Done():
			return
		case <-n.sup.Leaving():
			return
		case <-beat.C:
		}
	}
}

// stop asks for time while the drain goes on and the doors still answer.
func (n *notifier) stop(over context.Context) {
	n.mu.Lock()
	n.ready = false
	n.mu.Unlock()
	n.tell("STOPPING=1", n.status(), extend())
	more := time.NewTicker(statusPeriod)
	defer more.Stop()
	for {
		select {
		case <-over.Done():
			return
		case <-more.C:
		}
		if n.lives(over) {
			n.tell(n.status(), extend())
		}
	}
}

// lives reports whether every door accepts. What it does not report in time,
// the watchdog finds out.
func (n *notifier) lives(over context.Context) bool {
	patience := n.watchdog / 2
	if patience == 0 {
		patience = statusPeriod
	}
	ctx, cancel := context.WithTimeout(over, patience)
	defer cancel()
	err := n.sup.Accepting(ctx)
	if err != nil && over.Err() == nil {
		n.logger.Error("no sign of life for systemd's watchdog", "error", err)
	}
	return err == nil
}

// status counts apps by state. It reads every gate, so it does not return when
// one is stuck.
func (n *notifier) status() string {
	all, err := n.sup.Status()
	if err != nil {
		return "STATUS=" + err.Error()
	}
	states, held := map[api.State]int{}, 0
	for _, a := range all.Apps {
		states[a.State]++
		held += a.Held
	}
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		counts = append(counts, fmt.Sprintf("%d %s", states[state], state))
	}
	n.said = fmt.Sprintf("STATUS=%s: %s; %s held", plural(len(all.Apps), "app"), strings.Join(counts, ", "), plural(held, "request"))
	return n.said
}

// during tells systemd of a reload while it goes on. Several at once are one.
func (n *notifier) during(reload func()) {
	if n == nil {
		reload()
		return
	}
	n.reloading(1)
	defer n.reloading(-1)
	reload()
}

func (n *notifier) reloading(more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reloads += more
	switch {
	case !n.ready: // systemd still waits for READY, or for our end
	case more > 0:
		n.tell("RELOADING=1", sd.SdNotifyMonotonicUsec())
	case n.reloads == 0:
		n.tell("READY=1")
	}
}

func extend() string { return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extension.Microseconds()) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
