package relay

import (
	"context"
	"os"

	"tideover/proxy/remote"
	"tideover/proxy/remote/rpc"
	"tideover/supervisor/handoff"
)

// Former is what a supervisor that has died has left of its relays.
type Former struct {
	// Relays are those that live. Of two that do not drain the second one was about to take the place
	// of the first one.
	Relays []FormerRelay
	// Files are the descriptors that the records name. They belong to the Keeper.
	Files map[string]*os.File
	Epoch uint64 // of this supervisor
	Last  uint64 // number of the relay that was started last
}

// FormerRelay is one relay.
type FormerRelay struct {
	handoff.RelayRecord
	Process child
}

// files are the descriptors; f may be nil.
func (f *Former) files() map[string]*os.File {
	if f == nil {
		return nil
	}
	return f.Files
}

// attach attaches to the relays of the former supervisor, and returns the present one; nil: there is
// none, or it does not answer. It serves on with what it knows: nothing is sent to it.
func (k *Keeper) attach() (present *relayProcess) {
	f := k.options.Former
	if f == nil {
		return nil
	}
	k.last = f.Last
	for _, former := range f.Relays {
		p, described, err := k.attachTo(former)
		switch {
		case err != nil:
			k.options.Logger.Error("relay cannot be taken over", "pid", former.Process.Pid(), "error", err,
				"hint", "another one is started; the requests that were in flight and held in it are lost")
		case former.Draining, present != nil: // one that was being started had every Set before it accepted
			for _, d := range described.Doors {
				p.Shut(context.Background(), d.Door)
			}
			k.drainFormer(p, described)
		default:
			present, k.described = p, described
			k.set(p, nil)
			k.options.Logger.Debug("relay taken over", "pid", p.process.Pid())
		}
	}
	return present
}

// drainFormer has a relay of the former supervisor finish what it has.
func (k *Keeper) drainFormer(p *relayProcess, has remote.Description) {
	p.retired = true
	k.mu.Lock()
	k.draining = p
	k.recordLocked(nil) // the supervisor that comes next ends what is not in the record
	k.mu.Unlock()
	var apps []remote.AppID
	for _, a := range has.Apps {
		apps = append(apps, a.App)
	}
	k.running.Go(func() { k.drain(p, apps) })
}

// attachTo attaches to one relay. After an error its process has ended, and what was under way counts as
// cut.
func (k *Keeper) attachTo(former FormerRelay) (*relayProcess, remote.Description, error) {
	f := k.options.Former
	p := newRelayProcess(former.Number, f.Files[former.Attach])
	p.record, p.process = former.RelayRecord, former.Process
	if log := f.Files[former.Log]; log != nil {
		p.log.Go(func() { copyLog(log, k.options.Logger) })
	}
	var described remote.Description
	var err error
	p.Client, err = rpc.Attach(p.attach, f.Epoch, k.all[former.Page])
	if err == nil {
		p.SetSpool(k.spoolFile)
		described, err = p.Describe(context.Background()) // one that does not answer is given up
	}
	if err != nil {
		p.forget(k.options.Store)
		p.kill()
		k.all[former.Page].CutUnderWay()
		return nil, described, err
	}
	return p, described, nil
}

// Described is what the relay had to which New has attached; false: it has attached to none.
func (k *Keeper) Described() (remote.Description, bool) {
	return k.described, k.options.Former != nil && k.attached()
}

// attached reports whether the present relay is one of a former supervisor.
func (k *Keeper) attached() bool {
	p := k.relay()
	if p == nil {
		return false
	}
	for _, former := range k.options.Former.Relays {
		if former.Number == p.number {
			return true
		}
	}
	return false
}

// recordStarting records the relays with one that is about to be forked.
func (k *Keeper) recordStarting(next handoff.RelayRecord) error { return k.recordRelays(&next) }

func (k *Keeper) recordRelays(next *handoff.RelayRecord) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.recordLocked(next)
}

// recordLocked records the relays, and next if it is not nil. k.mu must be held.
func (k *Keeper) recordLocked(next *handoff.RelayRecord) error {
	if k.options.Record == nil {
		return nil
	}
	var all []handoff.RelayRecord
	for _, p := range k.relaysLocked() {
		r := p.record
		r.Draining = p == k.draining
		all = append(all, r)
	}
	if next != nil {
		all = append(all, *next)
	}
	return k.options.Record(all)
}
