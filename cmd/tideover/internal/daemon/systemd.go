package daemon

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

const (
	// pollInterval is how often the supervisor is asked whether the apps have
	// started. Asking ends when they have.
	pollInterval = 50 * time.Millisecond
	// statusInterval is how often STATUS is sent, if it changed.
	statusInterval = 5 * time.Second
	// timeoutExtension is the EXTEND_TIMEOUT_USEC asked for, again and again
	// before it ends, while the apps start and drain.
	timeoutExtension = 3 * statusInterval
	// readyMargin is added to the longest ready.timeout: then READY is sent
	// in any state of the apps.
	readyMargin = 5 * time.Second
)

// supervisorView is what the notifier reads of the supervisor.
type supervisorView interface {
	Status(selectors ...string) (api.Status, error)
	StartupComplete() bool
	CheckAlive(ctx context.Context) error
	ShuttingDown() <-chan struct{}
}

// notifier reports the state of the daemon to systemd, as sd_notify(3) says:
//
//   - READY when the public sockets are open and every app that is to run has
//     answered or failed once; at the latest after the longest ready.timeout. A
//     broken app never keeps the service from starting: STATUS names it.
//   - RELOADING and READY around a reload by a signal or by `apply`.
//   - WATCHDOG only after every public socket has been seen to accept, and every
//     gate and its counters could be read.
//   - STOPPING, and EXTEND_TIMEOUT_USEC for as long as the drain goes on.
//
// A nil notifier does nothing: NOTIFY_SOCKET is not set.
type notifier struct {
	sup          supervisorView
	logger       hclog.Logger
	send         func(state string) error
	pid          int           // of tideover
	readyTimeout time.Duration // until READY is sent at the latest
	watchdog     time.Duration // WatchdogSec of the unit; 0: none
	lastStatus   string

	mu      sync.Mutex // guards ready and reloads, and orders the messages they cause
	ready   bool
	reloads int
}

// newNotifier returns nil without NOTIFY_SOCKET.
func newNotifier(d *daemon, sup supervisorView) *notifier {
	if d.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	n := &notifier{sup: sup, logger: d.logger, send: sdNotify, pid: d.pid(), readyTimeout: readyMargin}
	if d.Supervision != nil { // systemd takes messages of the main process only
		n.send = d.Supervision.client.Notify
	}
	for _, app := range d.Config.Apps {
		n.readyTimeout = max(n.readyTimeout, app.Ready.Timeout+readyMargin)
	}
	watchdog, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.logger.Warn("watchdog disabled", "error", err)
	}
	n.watchdog = watchdog
	return n
}

// notifyTimeout bounds the sending of one message: the queue of a receiver that does not
// read is full for ever.
const notifyTimeout = time.Second

// sdNotify sends a message to NOTIFY_SOCKET. SdNotify of go-systemd has no timeout.
func sdNotify(state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: os.Getenv("NOTIFY_SOCKET")})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(notifyTimeout))
	_, err = conn.Write([]byte(state))
	return err
}

// notify sends assignments in one message.
func (n *notifier) notify(assignments ...string) {
	if err := n.send(strings.Join(assignments, "\n")); err != nil {
		n.logger.Warn("cannot notify systemd", "assignment", assignments[0], "error", err)
	}
}

// run reports until ended is done.
func (n *notifier) run(ended context.Context) {
	if n == nil {
		return
	}
	n.reportStart(ended)
	if !isClosed(n.sup.ShuttingDown()) {
		n.reportRunning(ended)
	}
	n.reportStop(ended)
}

// reportStart asks for more time until the apps have started, then sends READY.
func (n *notifier) reportStart(ended context.Context) {
	poll, extend := time.NewTicker(pollInterval), time.NewTicker(statusInterval)
	defer poll.Stop()
	defer extend.Stop()
	latest := time.NewTimer(n.readyTimeout)
	defer latest.Stop()
	n.notify("STATUS=starting", extendTimeout())
	for !n.sup.StartupComplete() {
		select {
		case <-ended.Done():
			return
		case <-n.sup.ShuttingDown():
			return
		case <-extend.C:
			n.notify(n.status(), extendTimeout())
			continue
		case <-poll.C:
			continue
		case <-latest.C:
		}
		break
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.notify("READY=1", fmt.Sprintf("MAINPID=%d", n.pid), n.status())
}

// reportRunning sends STATUS when it changes, and WATCHDOG.
func (n *notifier) reportRunning(ended context.Context) {
	interval := statusInterval
	if n.watchdog > 0 {
		interval = min(interval, n.watchdog/4)
	}
	heartbeat := time.NewTicker(interval)
	defer heartbeat.Stop()
	for {
		if n.watchdog > 0 && n.alive(ended) {
			n.notify("WATCHDOG=1")
		}
		if before := n.lastStatus; n.status() != before {
			n.notify(n.lastStatus)
		}
		select {
		case <-ended.Done():
			return
		case <-n.sup.ShuttingDown():
			return
		case <-heartbeat.C:
		}
	}
}

// reportStop asks for more time while the drain goes on and the public sockets
// still accept.
func (n *notifier) reportStop(ended context.Context) {
	n.mu.Lock()
	n.ready = false
	n.mu.Unlock()
	n.notify("STOPPING=1", n.status(), extendTimeout())
	extend := time.NewTicker(statusInterval)
	defer extend.Stop()
	for {
		select {
		case <-ended.Done():
			return
		case <-extend.C:
		}
		if n.alive(ended) {
			n.notify(n.status(), extendTimeout())
		}
	}
}

// alive reports whether every public socket accepts. It gives up after half of
// the watchdog's time, so that the watchdog ends a daemon that is stuck.
func (n *notifier) alive(ended context.Context) bool {
	timeout := n.watchdog / 2
	if timeout == 0 {
		timeout = statusInterval
	}
	ctx, cancel := context.WithTimeout(ended, timeout)
	defer cancel()
	err := n.sup.CheckAlive(ctx)
	if err != nil && ended.Err() == nil {
		n.logger.Error("watchdog notification withheld", "error", err)
	}
	return err == nil
}

// status counts apps by state and keeps the result in lastStatus. It reads
// every gate and therefore blocks while one is stuck.
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
	n.lastStatus = fmt.Sprintf("STATUS=%s: %s; %s held",
		term.Plural(len(all.Apps), "app"), strings.Join(counts, ", "), term.Plural(held, "request"))
	return n.lastStatus
}

// reloading calls reload and reports that it goes on. Reloads that overlap are
// reported as one.
func (n *notifier) reloading(reload func()) {
	if n == nil {
		reload()
		return
	}
	n.countReload(1)
	defer n.countReload(-1)
	reload()
}

func (n *notifier) countReload(more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reloads += more
	switch {
	case !n.ready: // systemd waits for READY, or for the end
	case more > 0:
		n.notify("RELOADING=1", sd.SdNotifyMonotonicUsec())
	case n.reloads == 0:
		n.notify("READY=1")
	}
}

func extendTimeout() string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", timeoutExtension.Microseconds())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
