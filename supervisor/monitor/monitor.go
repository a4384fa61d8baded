package monitor

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/threads"
)

// RoleName is argv[0] of the supervisor, and what ps(1) shows.
const RoleName = "tideover: supervisor"

// Variables of the supervisor's environment, which [Dial] removes.
const (
	channelVariable = "TIDEOVER_MONITOR" // descriptor of its end of the channel
	programVariable = "TIDEOVER_PROGRAM" // argv[0] of the monitor
	oomVariable     = "TIDEOVER_OOM"     // oom_score_adj of the supervisor and of apps
)

const (
	// beatInterval is the time between two beats of a supervisor, minBeatInterval where systemd has a
	// watchdog that is short.
	beatInterval, minBeatInterval = 15 * time.Second, 100 * time.Millisecond
	// maxMissed is after how many beats in a row that have not come a supervisor is killed. Time in
	// which this process does not run either, as in a machine that is suspended, is one of them at most.
	maxMissed = 2
	// stopInterval is how often it is looked at whether the children have ended.
	stopInterval = 100 * time.Millisecond
	// ownThreads is how many threads are made at the start: at the pids limit fork fails with EAGAIN, and
	// nothing else.
	ownThreads = 12
	// stopWithin bounds the wait for a supervisor when a signal is to end tideover: one that does not take
	// the signal is killed, and when no other one comes every child gets SIGTERM, and SIGKILL after stopGrace.
	stopWithin, stopGrace = 5 * time.Second, 10 * time.Second
	// writeTimeout bounds the wait for a supervisor that does not read.
	writeTimeout = 10 * time.Second
	// exitTimeout bounds the wait for a supervisor that was killed.
	exitTimeout = 5 * time.Second
)

// forwarded are the signals that the supervisor gets.
var forwarded = []syscall.Signal{
	unix.SIGHUP, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTTIN, unix.SIGTTOU,
}

// Options are those of Run.
type Options struct {
	Args   []string // of the supervisor, without argv[0]
	Env    []string
	Getenv func(string) string
	Stderr *os.File // of the supervisor
}

// monitor is the state of the one goroutine that does everything.
type monitor struct {
	options  Options
	terminal terminal
	children *children
	stored   map[string]descriptor
	oom      string      // oomVariable
	program  descriptor  // executable of the supervisor that was up last
	next     *descriptor // that of the next start, which is an upgrade; nil: program
	beat     time.Duration
	overdue  *time.Timer // fires when a beat has not come

	frames  chan *frame // of the supervisor; closed at the end of its channel
	current *supervisor
	starts  int
	wasUp   bool // a supervisor has been up: the end of one is not that of tideover
	last    *syscall.WaitStatus
	done    *int32 // exit code of kindDone
	policy  restarts
	restart <-chan time.Time // nil: a supervisor runs

	pending  []*frame  // signals until a supervisor handles them
	stopping []*frame  // SIGTERM, SIGINT and SIGQUIT that each later supervisor gets again
	stopAt   time.Time // when children get SIGTERM because no supervisor is up; zero: no signal is to end tideover
	killAt   time.Time // when they get SIGKILL
}

// supervisor is one process.
type supervisor struct {
	pid     int
	conn    *conn
	started time.Time
	hello   bool // it handles signals
	up      bool
	silent  int // beats that have not come
	pauses  int // open kindPause
	sent    int32
	unheard []*frame // the last ones of the signals that were sent: it has not said that it has them
	reading sync.WaitGroup
}

// Run is the monitor: it starts the supervisor and returns the exit code of tideover. It is called
// on the main goroutine, before any thread of this process has forked.
func Run(o Options) (exit int, err error) {
	if o.Getenv(channelVariable) != "" {
		return 0, errors.New(channelVariable + " is set: this program was to be a supervisor, and is not")
	}
	runtime.LockOSThread()
	threads.Make(ownThreads)
	m := &monitor{options: o, children: newChildren(), stored: map[string]descriptor{}, beat: beatEvery(o.Getenv("WATCHDOG_USEC"))}
	if m.program, err = openExecutable(); err != nil {
		return 0, err
	}
	m.oom = setOOMScore().String()
	m.terminal = findTerminal(os.Stdin, os.Stdout, o.Stderr)
	signals := make(chan os.Signal)
	for _, s := range append([]syscall.Signal{unix.SIGCHLD}, forwarded...) {
		one := make(chan os.Signal, 1) // of its own: any number of one signal displaces no other
		signal.Notify(one, s)
		go func() {
			for s := range one {
				signals <- s
			}
		}()
	}
	// An error means a kernel before 3.4: orphans are then found by other means.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err := m.start(); err != nil {
		return 0, err
	}
	return m.run(signals), nil
}

// beatEvery returns the time between two beats, for the watchdog of systemd in microseconds: a supervisor
// is killed before that ends everything.
func beatEvery(watchdog string) time.Duration {
	usec, err := strconv.ParseUint(watchdog, 10, 48)
	if err != nil || usec == 0 {
		return beatInterval
	}
	return max(minBeatInterval, min(beatInterval, time.Duration(usec)*time.Microsecond/(2*(maxMissed+1))))
}

// run handles what happens until tideover ends, and returns its exit code.
func (m *monitor) run(signals <-chan os.Signal) int {
	m.overdue = time.NewTimer(m.beat)
	defer m.overdue.Stop()
	again := false
	for {
		var soon, stop <-chan time.Time
		if again {
			soon = time.After(reapInterval)
		}
		if !m.stopAt.IsZero() {
			stop = time.After(stopInterval)
		}
		select {
		case f, ok := <-m.frames:
			if !ok {
				if exit, over := m.ended(); over {
					return exit
				}
				break
			}
			m.handle(f)
			f.closeFiles()
		case s := <-signals:
			if s != os.Signal(unix.SIGCHLD) {
				m.signal(s.(syscall.Signal))
			}
		case <-m.restart:
			m.restart = nil
			if err := m.start(); err != nil {
				m.startLater(0)
			}
		case <-m.overdue.C:
			m.missBeat()
		case <-stop:
			if m.checkStop() {
				return 1
			}
		case <-soon:
		}
		again = m.reap()
	}
}

// reapInterval is the time until zombies are looked at again, while one hides the others.
const reapInterval = 50 * time.Millisecond

// reap reaps orphans, except while the supervisor looks for members of a tree.
func (m *monitor) reap() (again bool) {
	pid := 0
	if m.current != nil {
		if pid = m.current.pid; m.current.pauses > 0 {
			return true
		}
	}
	return m.children.reapOrphans(pid, time.Now())
}

// start starts a supervisor.
func (m *monitor) start() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	unix.SetNonblock(fds[0], true)
	ours, err := newConn(os.NewFile(uintptr(fds[0]), "channel"))
	theirs := os.NewFile(uintptr(fds[1]), "channel")
	defer theirs.Close()
	if err != nil {
		return err
	}
	// Sockets of LISTEN_FDS are not close-on-exec, so that each supervisor inherits them.
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETFD, 0); err != nil {
		ours.Close()
		return os.NewSyscallError("fcntl", err)
	}
	env := append(m.options.Env[:len(m.options.Env):len(m.options.Env)], channelVariable+"="+strconv.Itoa(fds[1]), programVariable+"="+os.Args[0], oomVariable+"="+m.oom)
	program := m.program
	if m.next != nil {
		program, m.next = *m.next, nil // it is tried once
		defer program.close()
	}
	var streams []descriptor
	for _, f := range []*os.File{os.Stdin, os.Stdout, m.options.Stderr} {
		d, err := descriptorOf(f)
		if err != nil {
			ours.Close()
			return err
		}
		streams = append(streams, d)
	}
	pid, err := fork(program, append([]string{RoleName}, m.options.Args...), env, streams)
	if err != nil {
		ours.Close()
		return os.NewSyscallError("fork", err)
	}
	m.starts++
	s := &supervisor{pid: pid, conn: ours, started: time.Now()}
	frames := make(chan *frame)
	s.reading.Go(func() {
		defer close(frames)
		for {
			f, err := ours.receive()
			if err != nil {
				return
			}
			frames <- f
		}
	})
	m.current, m.frames = s, frames
	return nil
}

// ended is called at the end of the channel, when every frame of the supervisor was handled. It
// returns the exit code of tideover if that is over too.
func (m *monitor) ended() (exit int, over bool) {
	s := m.current
	s.reading.Wait()
	s.conn.Close()
	unix.Kill(s.pid, unix.SIGKILL)
	var status syscall.WaitStatus
	for until := time.Now().Add(exitTimeout); ; {
		pid, err := wait4(s.pid, &status)
		if pid == s.pid || err != nil || time.Now().After(until) {
			break
		}
		<-time.After(time.Millisecond)
	}
	m.current, m.frames, m.last = nil, nil, &status
	m.pending = append(s.unheard, m.pending...)
	if m.done != nil {
		return int(*m.done), true
	}
	if !m.wasUp {
		if status.Signaled() {
			return 128 + int(status.Signal()), true
		}
		return status.ExitStatus(), true
	}
	if !m.killAt.IsZero() { // the children are being ended
		return 0, false
	}
	if len(m.stopping) > 0 {
		m.stopAt = time.Now().Add(stopWithin)
	}
	up := time.Duration(0)
	switch {
	case m.next != nil: // another program takes its place
		up = soundFor
	case s.up:
		up = time.Since(s.started)
	}
	m.startLater(up)
	return 0, false
}

// startLater starts a supervisor after the pause that is due after one that was up for a time.
func (m *monitor) startLater(up time.Duration) {
	m.restart = time.After(m.policy.after(up))
}

// signal has the supervisor handle a signal, now or when there is one that does.
func (m *monitor) signal(s syscall.Signal) {
	f := &frame{kind: kindSignal, number: int32(s)}
	if s == unix.SIGHUP && m.terminal.closed() {
		f.errno = 1
	}
	stops := s == unix.SIGTERM || s == unix.SIGINT || s == unix.SIGQUIT || f.errno == 1
	if stops {
		m.stopping = append(m.stopping[:min(len(m.stopping), 2)], f)
	}
	if m.current == nil || !m.current.hello {
		m.pending = addSignal(m.pending, f)
		if stops {
			m.stopAt = time.Now().Add(stopWithin)
		}
		return
	}
	m.sendSignal(f)
	if stops {
		m.current.silent = maxMissed - 1
		m.overdue.Reset(min(m.beat*3/2, stopWithin))
	}
}

// maxWaiting is how many signals of one number wait: the second SIGINT means more than the first.
const maxWaiting = 2

// addSignal adds a signal to those that wait, as the kernel does: not without end.
func addSignal(waiting []*frame, f *frame) []*frame {
	same := 0
	for _, other := range waiting {
		if other.number == f.number && other.errno == f.errno {
			same++
		}
	}
	if same >= maxWaiting {
		return waiting
	}
	return append(waiting, f)
}

// sendSignal sends the supervisor a signal, which is one for the next supervisor until this one has said that
// it has it.
func (m *monitor) sendSignal(f *frame) {
	s := m.current
	if unheard := addSignal(s.unheard, f); len(unheard) > len(s.unheard) {
		s.unheard = unheard
		s.sent++
		m.send(f)
	}
}

// took notes that the supervisor has got that many signals.
func (s *supervisor) took(signals int32) {
	if left := int(s.sent - signals); left >= 0 && left < len(s.unheard) {
		s.unheard = s.unheard[len(s.unheard)-left:]
	}
}

// send sends the supervisor a frame. A supervisor that does not read is killed.
func (m *monitor) send(f *frame) {
	m.current.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	defer m.current.conn.SetWriteDeadline(time.Time{}) // else it would wake this process later
	if err := m.current.conn.send(f); errors.Is(err, os.ErrDeadlineExceeded) {
		unix.Kill(m.current.pid, unix.SIGKILL)
	}
}

// missBeat counts a beat that has not come, and kills a supervisor that does not run, so that another
// one is started.
func (m *monitor) missBeat() {
	m.overdue.Reset(m.beat)
	s := m.current
	if s == nil || !m.wasUp && len(m.stopping) == 0 { // its first start may wait for a disk
		return
	}
	if s.silent++; s.silent >= maxMissed {
		unix.Kill(s.pid, unix.SIGKILL)
	}
}

// heard notes that the supervisor runs. The timer fires in the middle between two beats, so that a beat
// is all that wakes this process.
func (m *monitor) heard() {
	m.current.silent = 0
	m.overdue.Reset(m.beat * 3 / 2)
}

// checkStop ends the children when a signal is to end tideover and no supervisor does it. It
// reports true when they have ended.
func (m *monitor) checkStop() bool {
	if m.stopAt.IsZero() || time.Now().Before(m.stopAt) {
		return false
	}
	if m.killAt.IsZero() {
		m.killAt = time.Now().Add(stopGrace)
		if m.current != nil {
			unix.Kill(m.current.pid, unix.SIGKILL)
		}
		m.restart = nil
		m.children.signal(unix.SIGTERM, false)
		return false
	}
	if time.Now().After(m.killAt) {
		m.children.signal(unix.SIGKILL, true)
		return true
	}
	return !m.children.alive()
}

// handle carries out a frame of the supervisor and answers it.
func (m *monitor) handle(f *frame) {
	s := m.current
	answer := &frame{kind: kindAnswer, call: f.call}
	var err error
	switch f.kind {
	case kindBeat:
		s.took(f.number)
		m.heard()
		return
	case kindDone:
		m.done = &f.number
		s.conn.SetReadDeadline(time.Now().Add(exitTimeout)) // it exits now
		return
	case kindHello:
		m.describe()
		answer.number = int32(m.starts)
		defer m.deliver()
	case kindUp:
		m.up(f)
	case kindSpawn:
		var pid int
		pid, err = m.children.spawn(f)
		answer.number = int32(pid)
	case kindCollect:
		var status syscall.WaitStatus
		status, err = m.children.collect(f.text)
		answer.number = int32(status)
	case kindPause:
		s.pauses++
	case kindResume:
		s.pauses = max(0, s.pauses-1)
	case kindStore:
		err = m.store(f)
	case kindDrop:
		if stored, ok := m.stored[f.text]; ok {
			stored.close()
			delete(m.stored, f.text)
		}
	case kindReplace:
		err = m.replace(f)
	case kindNotify:
		err = notify(m.options.Getenv("NOTIFY_SOCKET"), f.text)
	default:
		err = unix.ENOSYS
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		answer.errno = int32(errno)
	} else if err != nil {
		answer.errno = int32(unix.EIO)
	}
	m.send(answer)
}

// describe tells a supervisor what there is: how the one before has ended, children, descriptors.
func (m *monitor) describe() {
	if m.last != nil {
		m.send(&frame{kind: kindChild, number: int32(*m.last), errno: 1})
	}
	for _, k := range m.children.byToken {
		f := &frame{kind: kindChild, text: k.token, number: int32(k.pid)}
		if k.reaped {
			f.number, f.errno = int32(k.status), 1
		}
		m.send(f)
	}
	for name, stored := range m.stored {
		m.send(&frame{kind: kindStored, text: name, files: []descriptor{stored}})
	}
}

// deliver sends a supervisor the signals that wait for one, and those that are to end tideover: what
// the one before has had may be lost.
func (m *monitor) deliver() {
	m.current.hello, m.stopAt = true, time.Time{}
	m.heard()
	for _, f := range m.pending {
		m.sendSignal(f)
	}
	for _, f := range m.stopping {
		if !slices.Contains(m.pending, f) {
			m.sendSignal(f)
		}
	}
	m.pending = nil
}

// up says that a supervisor has started: its end is not that of tideover from here on, and the next
// one has its executable.
func (m *monitor) up(f *frame) {
	m.current.up, m.wasUp = true, true
	if len(f.files) == 1 {
		m.program.close()
		m.program, f.files = f.files[0], nil
	}
}

// replace has another executable started at the end of this supervisor. If that one ends before it is up,
// the present one is started again.
func (m *monitor) replace(f *frame) error {
	if f.lost || len(f.files) != 1 {
		return unix.EMFILE
	}
	if m.next != nil {
		m.next.close()
	}
	next := f.files[0]
	m.next, f.files = &next, nil
	return nil
}

// store keeps a descriptor for the next supervisor.
func (m *monitor) store(f *frame) error {
	if f.lost || len(f.files) != 1 {
		return unix.EMFILE
	}
	if strings.ContainsRune(f.text, 0) || len(f.text) == 0 || len(f.text) > maxName {
		return unix.EINVAL
	}
	if former, ok := m.stored[f.text]; ok {
		former.close()
	}
	m.stored[f.text], f.files = f.files[0], nil
	return nil
}

// maxName is how long the name of a descriptor may be.
const maxName = 255
