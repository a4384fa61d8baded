package member

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
)

// memoryStore is an etcd of one process: revisions, conditions, leases that end by the clock, and a
// log that is followed.
type memoryStore struct {
	mu       sync.Mutex // guards the fields below
	revision int64
	keys     map[string]storedKey
	leases   map[int64]*time.Timer // those that have not ended
	granted  int64
	log      []etcd.Update
	changed  chan struct{} // closed, and another one made, by each change
	mostOpen int           // turns at once
}

type storedKey struct {
	fleet.KeyValue
	lease int64 // 0: none
}

func newMemoryStore() *memoryStore {
	return &memoryStore{revision: 1, keys: map[string]storedKey{}, leases: map[int64]*time.Timer{}, changed: make(chan struct{})}
}

func (m *memoryStore) Grant(_ context.Context, ttl time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.granted++
	lease := m.granted
	m.leases[lease] = time.AfterFunc(ttl, func() { m.Revoke(context.Background(), lease) })
	return lease, nil
}

func (m *memoryStore) KeepAlive(_ context.Context, lease int64) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	timer, ok := m.leases[lease]
	if !ok || !timer.Stop() {
		return 0, nil
	}
	timer.Reset(leaseTime)
	return leaseTime, nil
}

func (m *memoryStore) Revoke(_ context.Context, lease int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if timer, ok := m.leases[lease]; ok {
		timer.Stop()
	}
	delete(m.leases, lease)
	var ops []fleet.Op
	for key, k := range m.keys {
		if k.lease == lease {
			ops = append(ops, fleet.Op{Key: key, Delete: true})
		}
	}
	m.apply(ops, 0)
	return nil
}

func (m *memoryStore) Commit(_ context.Context, txn fleet.Txn, lease int64) (bool, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range txn.If {
		k := m.keys[c.Key]
		if c.Modified && k.Modified != c.Revision || !c.Modified && k.Created != c.Revision {
			return false, m.revision, nil
		}
	}
	for _, op := range txn.Then {
		if _, ok := m.leases[lease]; op.Leased && !ok {
			return false, 0, errors.New("there is no such lease")
		}
	}
	m.apply(txn.Then, lease)
	return true, m.revision, nil
}

// apply does operations at the next revision.
func (m *memoryStore) apply(ops []fleet.Op, lease int64) {
	u := etcd.Update{Revision: m.revision + 1}
	for _, op := range ops {
		if op.Delete {
			for key := range m.keys {
				if key == op.Key || op.Below && strings.HasPrefix(key, op.Key) {
					delete(m.keys, key)
					u.Deleted = append(u.Deleted, fleet.KeyValue{Key: key, Modified: u.Revision})
				}
			}
			continue
		}
		k := storedKey{KeyValue: fleet.KeyValue{Key: op.Key, Value: op.Value, Created: u.Revision, Modified: u.Revision}}
		if former, ok := m.keys[op.Key]; ok {
			k.Created = former.Created
		}
		if op.Leased {
			k.lease = lease
		}
		m.keys[op.Key] = k
		u.Put = append(u.Put, k.KeyValue)
	}
	if len(u.Put)+len(u.Deleted) == 0 {
		return
	}
	m.revision = u.Revision
	m.log = append(m.log, u)
	m.mostOpen = max(m.mostOpen, m.open())
	close(m.changed)
	m.changed = make(chan struct{})
}

// open counts the turns that have begun and are not done.
func (m *memoryStore) open() (n int) {
	for key, k := range m.keys {
		turn, ok := strings.CutPrefix(key, "begun/")
		if !ok {
			continue
		}
		var done fleet.Done
		if end, ok := m.keys["done/"+turn]; ok {
			if err := json.Unmarshal([]byte(end.Value), &done); err != nil {
				panic(err)
			}
		}
		if done.Begun < k.Modified {
			n++
		}
	}
	return n
}

func (m *memoryStore) Read(context.Context) (etcd.Update, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.whole(), nil
}

func (m *memoryStore) whole() etcd.Update {
	u := etcd.Update{Whole: true, Revision: m.revision}
	for _, k := range m.keys {
		u.Put = append(u.Put, k.KeyValue)
	}
	return u
}

func (m *memoryStore) Follow(ctx context.Context, updates chan<- etcd.Update) error {
	m.mu.Lock()
	next, u := len(m.log), m.whole()
	m.mu.Unlock()
	for {
		select {
		case updates <- u:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			m.mu.Lock()
			changed, more := m.changed, next < len(m.log)
			if more {
				u = m.log[next]
				next++
			}
			m.mu.Unlock()
			if more {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// hostStore is the store as one host reaches it. An answer that is lost is of a transaction that has
// been done.
type hostStore struct {
	*memoryStore
	commits    int
	loses      int  // the number of the transaction whose answer is lost; 0: none
	unreadable bool // what is read after that is lost, too
	lost       bool
}

func (h *hostStore) Commit(ctx context.Context, txn fleet.Txn, lease int64) (bool, int64, error) {
	done, revision, err := h.memoryStore.Commit(ctx, txn, lease)
	if h.commits++; h.commits == h.loses {
		h.lost = h.unreadable
		return false, 0, errors.New("the answer is lost")
	}
	return done, revision, err
}

func (h *hostStore) Read(ctx context.Context) (etcd.Update, error) {
	if h.lost {
		h.lost = false
		return etcd.Update{}, errors.New("the answer is lost")
	}
	return h.memoryStore.Read(ctx)
}
