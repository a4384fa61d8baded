package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// daemonUser is the user of the configuration in force; the others are the keys of apps in the record.
const daemonUser = ""

// configurations are those that the daemon and the apps use, in the record for a later supervisor: the
// files may be others by then. A reload reads the file for its app alone, so that apps may be from
// different states of it. Its methods may be called from any goroutine.
type configurations struct {
	journal *handoff.Journal // nil: no supervisor comes later
	logger  hclog.Logger

	mu   sync.Mutex
	kept map[string]*config.Snapshot // by name
	used map[string]usedConfiguration
}

// usedConfiguration is what one user uses.
type usedConfiguration struct {
	file *config.File
	name string
}

func newConfigurations(journal *handoff.Journal, logger hclog.Logger) *configurations {
	return &configurations{journal: journal, logger: logger, kept: map[string]*config.Snapshot{}, used: map[string]usedConfiguration{}}
}

// use keeps the configuration of a user, in the place of what it has used, and returns its name for the
// record of the user; nil is that of a command line. What nothing uses any more is dropped
// with the next one: until then the record of the user may name it.
func (c *configurations) use(user string, file *config.File) (name string) {
	if c.journal == nil || file == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.used[user]; u.file == file {
		return u.name
	}
	maps.DeleteFunc(c.kept, func(name string, _ *config.Snapshot) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(c.used)), func(u usedConfiguration) bool { return u.name == name })
	})
	snapshot := file.Snapshot()
	text, err := json.Marshal(snapshot)
	sum := sha256.Sum256(text)
	name = hex.EncodeToString(sum[:8])
	c.kept[name], c.used[user] = snapshot, usedConfiguration{file, name}
	if err == nil {
		err = c.journal.SetConfigurations(c.kept) // the user commits it with its own record
	}
	if err != nil {
		c.logger.Error("cannot write the record", "app", "", "error", err, "hint", "if the supervisor dies now, another one restores what it was before")
	}
	return name
}

// forget is called when a user does not exist any more.
func (c *configurations) forget(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.used, user)
}
