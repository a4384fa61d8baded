package relay

import (
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/spool"
	"tideover/supervisor/confine"
)

// confinementError says why a relay could not confine itself. The process has ended.
type confinementError struct{ text string }

func (e *confinementError) Error() string { return "the relay could not confine itself: " + e.text }

// launch starts a relay in its confinement. Where the kernel or the container does not allow it
// another user, the relay keeps the daemon's, without the daemon's capabilities.
func (k *Keeper) launch() (*relayProcess, error) {
	settings := Settings{Settings: k.settings()}
	if k.options.Confinement != nil {
		o, err := k.options.Confinement()
		if err != nil {
			return nil, fmt.Errorf("cannot confine the relay: %w", err)
		}
		if k.keepsUser {
			o.User = nil
		}
		settings.Confinement = &o
	}
	p, err := k.fork(settings)
	var failed *confinementError
	if errors.As(err, &failed) && settings.Confinement.User != nil {
		k.options.Logger.Warn("process confined in part", "process", roleName, "missing", "own user ("+failed.text+")")
		k.keepsUser = true
		settings.Confinement.User = nil
		p, err = k.fork(settings)
	}
	if err == nil && settings.Confinement != nil {
		k.logMissing(p.measures)
	}
	return p, err
}

func (k *Keeper) fork(s Settings) (*relayProcess, error) {
	page := k.freePage()
	var user confine.User
	if s.Confinement != nil && s.Confinement.User != nil {
		user = *s.Confinement.User
	}
	return fork(forkOptions{user: user, number: k.last, settings: s, page: page, pageIndex: k.pageIndex(page), logger: k.options.Logger, spoolFile: k.spoolFile,
		store: k.options.Store, announce: k.recordStarting})
}

// spoolFile opens a file for the spool of a relay.
func (k *Keeper) spoolFile() (*os.File, error) { return spool.OpenIn(k.settings().SpoolDir) }

// logMissing logs once what of the confinement does not hold. Without root that is expected.
func (k *Keeper) logMissing(all []confine.Measure) {
	missing := confine.MissingText(all)
	if k.missingLogged || missing == "" {
		return
	}
	k.missingLogged = true
	level := hclog.Warn
	if os.Geteuid() != 0 {
		level = hclog.Info
	}
	k.options.Logger.Log(level, "process confined in part", "process", roleName, "missing", missing)
}
