package fleet

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// localTurns stands for the ID of a rollout in the keys of turns that a host takes for a reload of
// its own.
const localTurns = "local"

// Prefix is that of the keys of a group, which are below it: wish, hosts/H, slots/H, begun/ID/H,
// done/ID/H, halt/ID/ATTEMPT, history/ID.
func Prefix(group string) string { return "/tideover/v1/" + group + "/" }

const wishKey = "wish"

func hostKey(host string) string            { return "hosts/" + host }
func slotKey(host string) string            { return "slots/" + host }
func begunKey(t turnKey) string             { return "begun/" + t.id + "/" + t.host }
func doneKey(t turnKey) string              { return "done/" + t.id + "/" + t.host }
func haltKey(id string, attempt int) string { return "halt/" + id + "/" + strconv.Itoa(attempt) }
func historyKey(id int) string              { return "history/" + strconv.Itoa(id) }

// turnKey names the turns of a host in a rollout.
type turnKey struct{ id, host string }

// id is that of the rollout in keys.
func (w *Wish) id() string { return strconv.Itoa(w.ID) }

// ValidName reports whether a name can be a part of a key: letters, digits and ._-, at most 64.
func ValidName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// Encrypted reports whether one of the URLs of an etcd is for TLS.
func Encrypted(endpoints []string) bool {
	return slices.ContainsFunc(endpoints, func(url string) bool { return strings.HasPrefix(url, "https:") })
}

// A Txn is a transaction of the store: if every condition holds, all of Then is done, at one
// revision. Keys are below the prefix of the group.
type Txn struct {
	If   []Cond
	Then []Op
}

// Cond is a condition on a key. A key that is not there has the revisions 0.
type Cond struct {
	Key      string
	Modified bool // the revision of the last change is meant, else that of the creation
	Revision int64
}

// Op puts a key, or deletes it.
type Op struct {
	Key    string
	Value  string
	Delete bool
	Below  bool // of Delete: Key is a prefix, and all keys below it are deleted
	Leased bool // the key ends with the lease of the session
}

func created(key string, revision int64) Cond { return Cond{Key: key, Revision: revision} }
func modified(key string, revision int64) Cond {
	return Cond{Key: key, Modified: true, Revision: revision}
}
func absent(key string) Cond { return Cond{Key: key} }

func put(key string, value any) Op {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // the records have no value that JSON does not know
	}
	return Op{Key: key, Value: string(text)}
}

func putLeased(key string, value any) Op {
	op := put(key, value)
	op.Leased = true
	return op
}

func remove(key string) Op { return Op{Key: key, Delete: true} }

func removeBelow(prefix string) Op { return Op{Key: prefix, Delete: true, Below: true} }
