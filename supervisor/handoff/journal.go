package handoff

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"tideover/supervisor/config"
)

// A Journal writes the record of a supervisor. Each part of the record has one owner, who sets it:
// an app its own, the supervisor that of the daemon. Its methods may be called from any goroutine.
// Those of a nil Journal do nothing: there is no successor.
type Journal struct {
	writing sync.Mutex // held during a write, so that several commits share one
	slots   *Slots

	mu      sync.Mutex
	daemon  json.RawMessage
	configs json.RawMessage
	kept    map[string]*config.Snapshot // of configs
	named   map[string][]string         // names of configurations, by the part of the record that names them
	relays  json.RawMessage
	apps    map[string]json.RawMessage
	epoch   uint64
	changes uint64 // number of changes that were made
	written uint64 // of these, those in the last write
	err     error  // of that write
}

// NewJournal returns the journal of the supervisor that r is the first record of. It writes nothing
// before the first Commit.
func NewJournal(s *Slots, r *Record) (*Journal, error) {
	j := &Journal{slots: s, apps: map[string]json.RawMessage{}, epoch: r.Epoch, named: map[string][]string{}}
	err := j.SetConfigurations(r.Configurations)
	if err == nil {
		err = j.SetDaemon(r.Daemon)
	}
	if err == nil {
		err = j.set(&j.relays, r.Relays)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Apps)) {
		if err == nil {
			err = j.SetApp(name, r.Apps[name])
		}
	}
	return j, err
}

// SetApp changes the record of an app; nil removes it. What a points to is read at once.
func (j *Journal) SetApp(name string, a *AppRecord) error {
	if j == nil {
		return nil
	}
	if a == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.apps, name)
		delete(j.named, name)
		j.changes++
		return nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.named[name] = []string{a.Settings}
	if bytes.Equal(j.apps[name], text) {
		return nil
	}
	j.apps[name] = text
	j.changes++
	return nil
}

// SetApps changes the records of several apps in one step.
func (j *Journal) SetApps(all map[string]*AppRecord) error {
	texts := map[string]json.RawMessage{}
	for name, a := range all {
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		texts[name] = text
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.Copy(j.apps, texts)
	j.changes++
	return nil
}

// SetDaemon changes what is no part of an app.
func (j *Journal) SetDaemon(d DaemonRecord) error {
	if j == nil {
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	names := []string{d.Configuration}
	if d.Applying != nil && d.Applying.Apply != nil {
		names = append(names, d.Applying.Apply.Configuration)
	}
	j.named[ofDaemon] = names
	j.setLocked(&j.daemon, text)
	return nil
}

// ofDaemon is the key of the daemon in Journal.named: no app has it.
const ofDaemon = ""

// SetConfigurations changes the configurations that the daemon and the apps use. Those that the record names
// are kept until another call: what names them may change later, and a supervisor may die before.
func (j *Journal) SetConfigurations(all map[string]*config.Snapshot) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := maps.Clone(all)
	for _, names := range j.named {
		for _, name := range names {
			if former := j.kept[name]; former != nil && kept[name] == nil {
				if kept == nil {
					kept = map[string]*config.Snapshot{}
				}
				kept[name] = former
			}
		}
	}
	text, err := json.Marshal(kept)
	if err == nil {
		j.kept = kept
		j.setLocked(&j.configs, text)
	}
	return err
}

// SetRelays changes the record of the processes that relay.
func (j *Journal) SetRelays(all []RelayRecord) error {
	if j == nil {
		return nil
	}
	return j.set(&j.relays, all)
}

// set encodes a part of the record.
func (j *Journal) set(part *json.RawMessage, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.setLocked(part, text)
	return nil
}

// setLocked changes a part of the record. j.mu must be held.
func (j *Journal) setLocked(part *json.RawMessage, text json.RawMessage) {
	if !bytes.Equal(*part, text) {
		*part = text
		j.changes++
	}
}

// Commit returns when everything that was set before the call is in the record: a successor knows
// it from then on. After an error the record may be the one before.
func (j *Journal) Commit() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	wanted := j.changes
	j.mu.Unlock()
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	if j.written >= wanted && j.err == nil {
		j.mu.Unlock()
		return nil
	}
	text, changes := j.textLocked(), j.changes
	j.mu.Unlock()
	err := j.slots.Write(text)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
	if err == nil {
		j.written = changes
	}
	return err
}

// textLocked is the whole record. The parts are JSON already: only what has changed is encoded.
// j.mu must be held.
func (j *Journal) textLocked() []byte {
	var b bytes.Buffer
	head, _ := json.Marshal(struct {
		Version int    `json:"version"`
		Epoch   uint64 `json:"epoch"`
	}{RecordVersion, j.epoch})
	b.Write(head[:len(head)-1])
	b.WriteString(`,"daemon":`)
	b.Write(j.daemon)
	b.WriteString(`,"configurations":`)
	b.Write(j.configs)
	b.WriteString(`,"relays":`)
	b.Write(j.relays)
	b.WriteString(`,"apps":{`)
	for i, name := range slices.Sorted(maps.Keys(j.apps)) {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(name) // a string can be encoded
		b.Write(quoted)
		b.WriteByte(':')
		b.Write(j.apps[name])
	}
	b.WriteString("}}")
	return b.Bytes()
}
