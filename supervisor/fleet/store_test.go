package fleet

import (
	"maps"
	"slices"
	"strings"
)

// storeModel is a store as Txn needs it: revisions, conditions, leases, and a log to read from.
type storeModel struct {
	revision int64
	keys     map[string]storedKey
	leases   map[int]bool // those that have not ended
	log      []change
	reads    int // changes that were handed to views
}

type storedKey struct {
	KeyValue
	lease int // 0: none
}

// change is one key at one revision.
type change struct {
	revision int64
	kv       KeyValue
	deleted  bool
}

func newStore() *storeModel {
	return &storeModel{revision: 1, keys: map[string]storedKey{}, leases: map[int]bool{}}
}

func (s *storeModel) grant() int {
	lease := len(s.leases) + 1
	s.leases[lease] = true
	return lease
}

// commit does a transaction, if its conditions hold and the lease is there for what needs it.
func (s *storeModel) commit(txn Txn, lease int) bool {
	for _, c := range txn.If {
		k := s.keys[c.Key]
		if c.Modified && k.Modified != c.Revision || !c.Modified && k.Created != c.Revision {
			return false
		}
	}
	for _, op := range txn.Then {
		if op.Leased && !s.leases[lease] {
			return false
		}
	}
	changes := len(s.log)
	s.revision++
	for _, op := range txn.Then {
		switch {
		case op.Below:
			for _, key := range slices.Sorted(maps.Keys(s.keys)) {
				if strings.HasPrefix(key, op.Key) {
					s.delete(key)
				}
			}
		case op.Delete:
			s.delete(op.Key)
		default:
			created := s.revision
			if k, ok := s.keys[op.Key]; ok {
				created = k.Created
			}
			k := storedKey{KeyValue: KeyValue{op.Key, op.Value, created, s.revision}}
			if op.Leased {
				k.lease = lease
			}
			s.keys[op.Key] = k
			s.log = append(s.log, change{s.revision, k.KeyValue, false})
		}
	}
	if len(s.log) == changes {
		s.revision-- // deletes of keys that are not there make no revision
	}
	return true
}

func (s *storeModel) delete(key string) {
	if k, ok := s.keys[key]; ok {
		delete(s.keys, key)
		s.log = append(s.log, change{s.revision, k.KeyValue, true})
	}
}

// expire ends a lease, and with it its keys at one revision.
func (s *storeModel) expire(lease int) {
	if !s.leases[lease] {
		return
	}
	s.leases[lease] = false
	s.revision++
	changes := len(s.log)
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		if s.keys[key].lease == lease {
			s.delete(key)
		}
	}
	if len(s.log) == changes {
		s.revision--
	}
}

// replica is a View that follows the store, as late as the test likes.
type replica struct {
	store *storeModel
	view  *View
	next  int // in the log
}

func newReplica(s *storeModel) *replica { return &replica{store: s, view: NewView()} }

// advance takes over the changes of up to n revisions.
func (r *replica) advance(n int) {
	for ; n > 0 && r.next < len(r.store.log); n-- {
		at := r.store.log[r.next].revision
		for r.next < len(r.store.log) && r.store.log[r.next].revision == at {
			c := r.store.log[r.next]
			if c.deleted {
				r.view.Delete(c.kv.Key)
			} else if err := r.view.Put(c.kv); err != nil {
				panic(err)
			}
			r.next++
			r.store.reads++
		}
		r.view.Revision = at
	}
	if r.next == len(r.store.log) {
		r.view.Revision = r.store.revision
	}
}
