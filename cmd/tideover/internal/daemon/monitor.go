package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/awake"
	"tideover/supervisor/config"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
	"tideover/supervisor/handoff"
	"tideover/supervisor/monitor"
	"tideover/supervisor/process"
	"tideover/supervisor/relay"
	"tideover/supervisor/threads"
)

// Supervision is what a supervisor has of its monitor, and of the supervisor before it.
type Supervision struct {
	client   *monitor.Client
	signals  signalQueue
	state    monitor.State
	slots    *handoff.Slots
	journal  *handoff.Journal
	epoch    uint64
	former   *handoff.Restoration // nil: there was none
	failures uint64               // number of supervisors that could not restore the record
	damaged  error                // why the record cannot be read
	adopted  func()               // says that every process of the former supervisor is adopted, or was ended
	beats    sync.WaitGroup
	endBeats func() // nil: not up
	// terminalClosed says that the monitor's terminal was.
	terminalClosed atomic.Bool
}

const (
	// recordName is the name of the descriptor of the record.
	recordName = "record"
	// controlName is that of the control socket.
	controlName = "control"
	// controlLockName is that of its lock file.
	controlLockName = "lock/control"
	// maxFailures is how many supervisors in a row may end before they have restored a record. The next
	// one restores sockets and settings alone.
	maxFailures = 3
	// ownThreads is how many threads the supervisor has before it restores anything.
	ownThreads = 10
)

// Supervise makes this process the supervisor of a monitor: it says to the monitor that it handles signals,
// and gets what a former supervisor has left.
func Supervise(client *monitor.Client) (*Supervision, error) {
	threads.Make(ownThreads) // a process that cannot is no failure of the record
	s := &Supervision{client: client, signals: receiveSignals()}
	process.SetParent(client)
	var err error
	s.state, err = client.Hello(func(signal monitor.Signal) {
		if signal.TerminalClosed {
			s.terminalClosed.Store(true)
		}
		select {
		case s.signals[signal.Signal] <- signal.Signal:
		default: // it is one with the one that waits
		}
	})
	if err != nil {
		return nil, err
	}
	s.adopted = func() {}
	if len(s.state.Children) > 0 {
		s.adopted = process.AwaitAdoption()
	}
	return s, s.openRecord()
}

// Configuration is the one that the former supervisor had in force; nil: there was none, or it had it from
// its command line.
func (s *Supervision) Configuration() *config.File {
	if s == nil || s.former == nil {
		return nil
	}
	f, err := s.former.Configuration(s.former.Record.Daemon.Configuration)
	if err != nil {
		s.damaged = err
	}
	return f
}

// store is where descriptors are kept for a later supervisor; nil: none comes.
func (s *Supervision) store() handoff.Store {
	if s == nil {
		return nil
	}
	return s.client
}

// record is the record of this supervisor; nil: there is none.
func (s *Supervision) record() *handoff.Journal {
	if s == nil {
		return nil
	}
	return s.journal
}

// restores reports whether this supervisor takes the place of one that has died.
func (d *daemon) restores() bool { return d.Supervision.Restores() }

// pid is what systemd and users know as tideover: the monitor, and once it was killed this process.
func (d *daemon) pid() int {
	if d.Supervision != nil && !d.Supervision.ended() {
		return d.Supervision.client.Pid()
	}
	return os.Getpid()
}

// openRecord opens the record of the former supervisor, or makes one.
func (s *Supervision) openRecord() error {
	s.epoch = uint64(s.state.Starts)
	first := &handoff.Record{Version: handoff.RecordVersion}
	file := s.state.Stored[recordName]
	delete(s.state.Stored, recordName)
	if file != nil {
		var record *handoff.Record
		s.slots, record, s.damaged = handoff.OpenRecord(file)
		switch {
		case s.slots == nil || record == nil && len(s.state.Children) > 0: // what there is cannot be known
			record = first
		case record != nil:
			var err error
			if s.failures, err = s.slots.BeginRestoration(); err != nil {
				return err
			}
			if s.failures >= maxFailures {
				record = record.WithoutProcesses()
			}
			s.epoch = max(s.epoch, record.Epoch+1)
		}
		if record != nil {
			first = record
			s.former = &handoff.Restoration{Record: record, Children: s.children(), Files: s.state.Stored, Outcome: s.formerOutcome()}
		}
	}
	if s.slots == nil {
		var err error
		if s.slots, file, err = handoff.NewSlots(); err != nil {
			return err
		}
		if err := s.client.Put(context.Background(), recordName, file); err != nil {
			return err
		}
	}
	first.Epoch = s.epoch
	var err error
	s.journal, err = handoff.NewJournal(s.slots, first)
	return err
}

// logRecord logs what is not restored as it was.
func (d *daemon) logRecord() {
	s := d.Supervision
	switch {
	case s == nil:
	case s.damaged != nil:
		d.logger.Error("cannot read the record", "error", s.damaged, "hint", "what the former supervisor has started is ended, and started anew")
	case s.failures >= maxFailures:
		d.logger.Error("cannot restore", "failures", s.failures, "hint", "the processes of the former supervisors are ended, and started anew; the sockets stay open")
	}
}

// Restores reports whether this supervisor takes the place of one that has died.
func (s *Supervision) Restores() bool { return s != nil && s.former != nil }

// Done says that tideover ends with this process, and with what exit code. Until then this process beats,
// however long the ends of other processes take.
func (s *Supervision) Done(exit int) {
	s.client.Done(exit)
	if s.endBeats != nil {
		s.endBeats()
		s.beats.Wait()
	}
}

// withoutMonitor is how long the apps are served after the death of the monitor. In a terminal that is not
// wanted: what was started there is to end.
const withoutMonitor = time.Minute

// endWithoutMonitor begins the shutdown some time after the monitor is dead: no process can be started then,
// and nothing would start another supervisor. It returns when that has begun, or ended is done.
func (d *daemon) endWithoutMonitor(dead <-chan struct{}, ended context.Context) {
	select {
	case <-dead:
	case <-ended.Done():
		return
	}
	if ended.Err() != nil || d.shutdown.announced.Err() != nil {
		return
	}
	left := withoutMonitor
	if d.Stdout.Terminal {
		left = 0
	}
	if d.PidFile != "" {
		_ = writePidFile(d.PidFile, d.pid()) // an error was one at the start as well
	}
	d.logger.Error("monitor ended", "left_s", left.Seconds(), "hint", "the apps are served until then, and are stopped; start tideover again afterwards")
	served, cancel := awake.WithTimeout(ended, left)
	defer cancel()
	<-served.Done()
	if ended.Err() == nil {
		d.shutdown.begin(false)
	}
}

// ended reports whether the monitor is dead.
func (s *Supervision) ended() bool { return s != nil && isClosed(s.client.Ended()) }

// relieveTimeout bounds the wait for a daemon without a monitor to end, once its apps are stopped.
const relieveTimeout = 10 * time.Second

// relieve ends the daemon on the control socket at path if its monitor was killed: it would end by itself
// a while later, and this one takes its place. One that stays is a second daemon, as any other.
func (d *daemon) relieve(ctx context.Context, path string) {
	if d.restores() {
		return
	}
	all, _ := control.Locator{Dirs: []string{filepath.Dir(path)}}.Daemons(ctx) // an error: there is none
	i := slices.IndexFunc(all, func(other control.Daemon) bool { return other.Socket() == path && other.Status.MonitorEnded })
	if i < 0 {
		return
	}
	former := all[i]
	d.logger.Warn("former daemon relieved", "pid", former.Status.Pid, "hint", "its monitor was killed: it finishes the requests in flight and ends, then this one starts")
	if err := former.Shutdown(ctx, false); err != nil {
		d.logger.Error("former daemon not relieved", "pid", former.Status.Pid, "error", err)
		return
	}
	soon, cancel := awake.WithTimeout(ctx, relieveTimeout)
	defer cancel()
	control.AwaitEnd(soon, path)
}

// up says that this supervisor has started. From then on it beats until Done.
func (s *Supervision) up() error {
	if err := s.client.Up(); err != nil {
		return err
	}
	beating, end := context.WithCancel(context.Background())
	s.endBeats = end
	s.beats.Go(func() { s.client.Beat(beating) })
	return s.slots.EndRestoration()
}

// children are those of the monitor.
func (s *Supervision) children() (all []handoff.Child) {
	for _, c := range s.state.Children {
		child := handoff.Child{Token: c.Token, Pid: c.Pid, Exited: c.Exited, Status: uint32(c.Status)}
		child.StartTime, _ = process.StartTime(c.Pid) // of one that has exited: 0
		all = append(all, child)
	}
	return all
}

// formerRelays are those of the former supervisor that live.
func (d *daemon) formerRelays() *relay.Former {
	s := d.Supervision
	if s == nil || s.former == nil {
		return nil
	}
	f := &relay.Former{Files: s.former.Files, Epoch: s.epoch}
	for _, r := range s.former.Record.Relays {
		f.Last = max(f.Last, r.Number)
		for _, c := range s.former.Children {
			if c.Token != r.Tree.Token || c.Exited {
				continue
			}
			r.Tree.Pid, r.Tree.StartTime = c.Pid, c.StartTime // the supervisor may have died before it knew
			p, err := process.Adopt(r.Tree, s.former.Record.Daemon.Began)
			if err != nil {
				d.logger.Error("relay cannot be taken over", "pid", c.Pid, "error", err, "hint", "another one is started; the requests that were in flight and held in it are lost")
				continue
			}
			f.Relays = append(f.Relays, relay.FormerRelay{RelayRecord: r, Process: p})
		}
	}
	return f
}

// formerRelayUser is the user of the former supervisor's relay, to whose group the private sockets
// belong; nil: there was none.
func (d *daemon) formerRelayUser() *confine.User {
	if !d.restores() {
		return nil
	}
	for _, r := range d.Supervision.former.Record.Relays {
		if !r.Draining && r.GID != 0 {
			return &confine.User{UID: r.UID, GID: r.GID}
		}
	}
	return nil
}

// planRestoration plans what becomes of what the former supervisor has left, once the relay has been attached to,
// and drops what nothing needs.
func (d *daemon) planRestoration() *handoff.State {
	s := d.Supervision
	if s == nil || s.former == nil {
		return nil
	}
	var serving *handoff.RelayState
	if described, attached := d.relaying.Described(); attached {
		s.former.Relay, serving = &described, handoff.StateOf(described)
	}
	var names []string
	for name := range s.state.Stored {
		names = append(names, name)
	}
	s.former.Plan = handoff.Restore(s.former.Record, s.former.Children, names, serving)
	state := s.former.State()
	var unneeded []string
	for _, name := range s.former.Plan.Drop {
		if name != controlName && name != recordName {
			unneeded = append(unneeded, name)
			s.former.Files[name].Close()
			delete(s.former.Files, name)
		}
	}
	_ = s.client.Drop(context.Background(), unneeded...) // the next supervisor tries it again
	for _, token := range s.former.Plan.End {
		d.endChild(token)
	}
	d.logger.Info("supervisor restored", "former", s.former.Outcome, "starts", s.state.Starts)
	return state
}

// endChild ends a process that nothing needs, with its tree.
func (d *daemon) endChild(token string) {
	for _, c := range d.Supervision.former.Children {
		if c.Token != token {
			continue
		}
		if c.Pid > 0 && !c.Exited {
			if p, err := process.Adopt(process.Record{Name: "leftover", Token: token, Pid: c.Pid, StartTime: c.StartTime}, time.Now()); err == nil {
				p.Kill(context.Background())
				continue
			}
		}
		_, _ = d.Supervision.client.Collect(token) // an error means that it was collected
	}
}

// formerOutcome says how the former supervisor has ended.
func (s *Supervision) formerOutcome() string {
	if f := s.state.Former; f != nil {
		return process.OutcomeText(*f)
	}
	return "unknown"
}

// controlSocket is the control socket of the former supervisor; nil: there is none.
func (s *Supervision) controlSocket() *os.File {
	if s == nil {
		return nil
	}
	f := s.state.Stored[controlName]
	delete(s.state.Stored, controlName)
	return f
}

// lockFile is a lock file of the former supervisor, which is at path; nil: there is none.
func (s *Supervision) lockFile(name, path string) *os.File {
	if s == nil || s.state.Stored[name] == nil {
		return nil
	}
	f := s.state.Stored[name]
	delete(s.state.Stored, name)
	defer f.Close()
	number, err := handoff.Descriptor(f)
	if err == nil {
		number, err = unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(number), path)
}

// keepLock keeps the lock file of the control socket: no other daemon takes its lock while there is no
// supervisor.
func (s *Supervision) keepLock(lock *os.File) error {
	if s == nil {
		return nil
	}
	return s.client.Put(context.Background(), controlLockName, lock)
}

// keepControl keeps the control socket.
func (s *Supervision) keepControl(socket syscall.Conn) error {
	if s == nil {
		return nil
	}
	number, err := handoff.Descriptor(socket)
	if err != nil {
		return err
	}
	if number, err = unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(number), controlName)
	defer f.Close()
	return s.client.Put(context.Background(), controlName, f)
}
