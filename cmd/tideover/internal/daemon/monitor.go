package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/confine"
	"tideover/supervisor/handoff"
	"tideover/supervisor/monitor"
	"tideover/supervisor/process"
	"tideover/supervisor/relay"
)

// supervision is what this supervisor has of its monitor, and of the supervisor before it.
type supervision struct {
	client  *monitor.Client
	state   monitor.State
	journal *handoff.Journal
	epoch   uint64
	former  *handoff.Restoration // nil: there was none
}

// recordName is the name of the descriptor of the record.
const recordName = "record"

// controlName is that of the control socket.
const controlName = "control"

// beginSupervision says to the monitor that this process handles signals, and gets what a former supervisor has
// left.
func (d *daemon) beginSupervision(signals signalQueue) error {
	if d.Monitor == nil {
		return nil
	}
	d.supervised = &supervision{client: d.Monitor}
	process.SetParent(d.Monitor)
	var err error
	d.supervised.state, err = d.Monitor.Hello(func(s monitor.Signal) {
		if s.TerminalClosed {
			d.terminalClosed.Store(true)
		}
		select {
		case signals[s.Signal] <- s.Signal:
		default: // it is one with the one that waits
		}
	})
	return err
}

// store is where descriptors are kept for a later supervisor; nil: none comes.
func (s *supervision) store() handoff.Store {
	if s == nil {
		return nil
	}
	return s.client
}

// record is the record of this supervisor; nil: there is none.
func (s *supervision) record() *handoff.Journal {
	if s == nil {
		return nil
	}
	return s.journal
}

// restores reports whether this supervisor takes the place of one that has died.
func (d *daemon) restores() bool { return d.supervised != nil && d.supervised.former != nil }

// pid is what systemd and users know as tideover.
func (d *daemon) pid() int {
	if d.Monitor != nil {
		return d.Monitor.Pid()
	}
	return os.Getpid()
}

// openRecord opens the record of the former supervisor, or makes one.
func (d *daemon) openRecord() error {
	s := d.supervised
	if s == nil {
		return nil
	}
	s.epoch = uint64(s.state.Starts)
	first := &handoff.Record{Version: handoff.RecordVersion}
	slots, record, err := s.openSlots()
	if err != nil {
		d.logger.Error("cannot read the record", "error", err, "hint", "what the former supervisor has started is ended, and started anew")
	}
	if slots == nil {
		var file *os.File
		if slots, file, err = handoff.NewSlots(); err != nil {
			return err
		}
		if err := s.client.Put(context.Background(), recordName, file); err != nil {
			return err
		}
	}
	if record != nil {
		first = record
		s.former = &handoff.Restoration{Record: record, Children: s.children(), Files: s.state.Stored}
		s.epoch = max(s.epoch, record.Epoch+1)
	}
	first.Epoch = s.epoch
	s.journal, err = handoff.NewJournal(slots, first)
	return err
}

// openSlots opens what the former supervisor has written; nil: there is nothing, or it cannot be read.
func (s *supervision) openSlots() (*handoff.Slots, *handoff.Record, error) {
	file := s.state.Stored[recordName]
	if file == nil {
		return nil, nil, nil
	}
	delete(s.state.Stored, recordName)
	slots, record, err := handoff.OpenRecord(file)
	if errors.Is(err, handoff.ErrNoRecord) {
		return nil, nil, nil
	}
	return slots, record, err
}

// children are those of the monitor.
func (s *supervision) children() (all []handoff.Child) {
	for _, c := range s.state.Children {
		child := handoff.Child{Token: c.Token, Pid: c.Pid, Exited: c.Exited, Status: uint32(c.Status)}
		child.StartTime, _ = process.StartTime(c.Pid) // of one that has exited: 0
		all = append(all, child)
	}
	return all
}

// formerRelays are those of the former supervisor that live.
func (d *daemon) formerRelays() *relay.Former {
	s := d.supervised
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
	for _, r := range d.supervised.former.Record.Relays {
		if !r.Draining && r.GID != 0 {
			return &confine.User{UID: r.UID, GID: r.GID}
		}
	}
	return nil
}

// planRestoration plans what becomes of what the former supervisor has left, once the relay has been attached to,
// and drops what nothing needs.
func (d *daemon) planRestoration() *handoff.State {
	s := d.supervised
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
		if !strings.HasPrefix(name, "page/") && name != controlName && name != recordName {
			unneeded = append(unneeded, name)
		}
	}
	_ = s.client.Drop(context.Background(), unneeded...) // the next supervisor tries it again
	for _, token := range s.former.Plan.End {
		d.endChild(token)
	}
	d.logger.Info("supervisor restored", "former", d.formerOutcome(), "starts", s.state.Starts)
	return state
}

// endChild ends a process that nothing needs, with its tree.
func (d *daemon) endChild(token string) {
	for _, c := range d.supervised.former.Children {
		if c.Token != token {
			continue
		}
		if c.Pid > 0 && !c.Exited {
			if p, err := process.Adopt(process.Record{Name: "leftover", Token: token, Pid: c.Pid, StartTime: c.StartTime}, time.Now()); err == nil {
				p.Kill(context.Background())
				continue
			}
		}
		_, _ = d.supervised.client.Collect(token) // an error means that it was collected
	}
}

// formerOutcome says how the former supervisor has ended.
func (d *daemon) formerOutcome() string {
	if f := d.supervised.state.Former; f != nil {
		return process.OutcomeText(*f)
	}
	return "unknown"
}

// controlSocket is the control socket of the former supervisor; nil: there is none.
func (s *supervision) controlSocket() *os.File {
	if s == nil {
		return nil
	}
	f := s.state.Stored[controlName]
	delete(s.state.Stored, controlName)
	return f
}

// keepControl keeps the control socket.
func (s *supervision) keepControl(socket syscall.Conn) error {
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
