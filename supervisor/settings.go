package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/logs"
	"tideover/supervisor/safepath"
)

// settingsSource reads the configuration again.
type settingsSource struct {
	load     func() (*config.File, error)
	inForce  atomic.Pointer[config.File] // as it was applied last; only the holder of registry.changing stores it
	launcher *generation.Launcher
	logger   hclog.Logger
	reads    sync.WaitGroup // counts the goroutines of beginReading
}

// settingsReading is one reading of an app's settings.
type settingsReading struct {
	done chan struct{}
	cfg  *config.App // set before done is closed
	err  error       // likewise
	// warnings say which other parts of the file are faulty; likewise.
	warnings []string
}

// beginReading begins to read the settings of an app as the file has them now. The file, and
// gunicorn, which is queried, may hang; so the app's goroutine does not wait for them
// alone.
func (s *settingsSource) beginReading(current *config.App) *settingsReading {
	r := &settingsReading{done: make(chan struct{})}
	s.reads.Go(func() {
		defer close(r.done)
		cfg, warnings, err := s.app(current.Name)
		if err == nil {
			cfg, err = s.prepare(cfg)
		}
		if r.cfg, r.warnings, r.err = cfg, warnings, err; err != nil {
			return
		}
		if same := slices.Equal(r.cfg.Listen, current.Listen); !same && r.cfg.ListenFrom == "listen" {
			s.logger.Warn("listen address changed", "app", current.Name, "hint", "tideover apply opens the new address")
		}
		if r.cfg.Relay != current.Relay && current.Listens() {
			r.err = &api.Error{Exit: api.ExitConfig, Message: fmt.Sprintf("relay of %s has changed to %q, which a reload cannot do", current.Name, r.cfg.Relay),
				Hint: "tideover apply stops the app and starts it again; connections wait meanwhile"}
			return
		}
		if r.cfg.Listens() != current.Listens() {
			r.err = &api.Error{Exit: api.ExitConfig, Message: fmt.Sprintf("listen of %s was added or removed, which a reload cannot do", current.Name),
				Hint: "tideover apply stops the app and starts it again"}
			return
		}
		fixed := *r.cfg
		fixed.Listen = current.Listen
		r.cfg = &fixed
	})
	return r
}

// readsTimeout bounds close. It is the time of a gunicorn to die of SIGKILL, and of its
// output to end.
const readsTimeout = 6 * time.Second

// close waits for the processes of readings that an operation no longer waits for. The
// launcher's Hurry must have ended, which kills them. A file that hangs is not waited for.
func (s *settingsSource) close() {
	ended := make(chan struct{})
	go func() {
		s.reads.Wait()
		close(ended)
	}()
	timeout := time.NewTimer(readsTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
	case <-timeout.C:
	}
}

// read reads the configuration. Unless allowEmpty is set, it is an error when apps are missing
// as after a truncation: no app is left, or an include matches no file any more.
func (s *settingsSource) read(allowEmpty bool) (*config.File, error) {
	file, err := s.load()
	var faults *config.Error
	if errors.As(err, &faults) && allowEmpty {
		if empty, ok := faults.AllowEmpty(); ok {
			return empty, nil
		}
	}
	if err != nil || allowEmpty {
		return file, err
	}
	return file, file.LostIncludes(s.inForce.Load())
}

// app returns an app's settings as the file has them now. Faults in the sections of other apps, and
// in files that are included, are warnings.
func (s *settingsSource) app(name string) (cfg *config.App, warnings []string, err error) {
	file, err := s.read(false)
	var faults *config.Error
	if errors.As(err, &faults) {
		family, _, _ := strings.Cut(name, ":")
		if valid, ok := faults.ForReload(family); ok {
			file, err = valid, nil
			warnings = otherFaults(valid.Warnings)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	all := eachApp(file)
	i := slices.IndexFunc(all, func(a *config.App) bool { return a.Name == name })
	if i < 0 {
		return nil, nil, errors.New(strings.Join(append([]string{fmt.Sprintf("app %s is no longer in %s; `tideover apply` removes it", name, file.Path)}, warnings...), "; "))
	}
	return all[i], warnings, nil
}

// changedFile is the file of the configuration that was changed after it was applied; empty: none.
func (s *settingsSource) changedFile() string { return s.inForce.Load().ChangedFile() }

// maxOtherFaults is how many faults of other apps a warning names.
const maxOtherFaults = 3

// otherFaults says which faults a reload has passed over.
func otherFaults(faults []config.Problem) []string {
	var all []string
	for _, p := range faults {
		p.Warning = false
		all = append(all, p.String())
	}
	if more := len(all) - maxOtherFaults; more > 0 {
		all = append(all[:maxOtherFaults], fmt.Sprintf("%d more", more))
	}
	return []string{"the configuration is faulty elsewhere, so `tideover apply` would be refused: " + strings.Join(all, "; ")}
}

// maxQueries is how many gunicorns are queried at the same time.
const maxQueries = 4

// prepareAll is prepare for several apps, with an error for each app that has one.
func (s *settingsSource) prepareAll(apps []*config.App) (prepared []*config.App, errs []error) {
	prepared, errs = make([]*config.App, len(apps)), make([]error, len(apps))
	places := make(chan struct{}, maxQueries)
	var queries sync.WaitGroup
	for i, cfg := range apps {
		queries.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			prepared[i], errs[i] = s.prepare(cfg)
		})
	}
	queries.Wait()
	return prepared, errs
}

// prepare refuses settings that cannot work, and adds what gunicorn reports and what is in files.
// It runs gunicorn's configuration file. It must not be called while a lock is held, because the
// files are the app's.
func (s *settingsSource) prepare(cfg *config.App) (*config.App, error) {
	cfg, err := s.launcher.CompleteSettings(cfg)
	if err != nil {
		return nil, err
	}
	return s.readPage(cfg), nil
}

// recall is prepare for a dry run, which runs nothing: it takes what gunicorn has reported last.
// asked is false if it has reported nothing for this command.
func (s *settingsSource) recall(cfg *config.App) (complete *config.App, asked bool, err error) {
	if cfg, asked, err = s.launcher.RecallSettings(cfg); err != nil {
		return nil, asked, err
	}
	return s.readPage(cfg), asked, nil
}

// readPage adds the page of tideover's own 503.
func (s *settingsSource) readPage(cfg *config.App) *config.App {
	if cfg.Hold.Page == "" {
		return cfg
	}
	complete := *cfg
	page, err := opener(cfg).ReadFile(cfg.Hold.Page)
	if err != nil {
		s.logger.Warn("cannot read page", "app", cfg.Name, "file", cfg.Hold.Page, "error", err, "hint", "tideover's own 503 is plain text")
	}
	complete.Hold.PageText = page.Text
	return &complete
}

// checkLog is the error of opening the log files of an app. Where the app's user can change the
// path it is only logged: this user must not be able to keep other apps from starting.
func (s *settingsSource) checkLog(cfg *config.App) error {
	return cmp.Or(s.checkLogFile(cfg, logFile(cfg)), s.checkLogFile(cfg, accessFile(cfg)))
}

func (s *settingsSource) checkLogFile(cfg *config.App, file logs.FileOptions) error {
	if file.Path == "" {
		return nil
	}
	err := file.Check()
	if err == nil {
		return nil
	}
	if access, denied := file.Opener.Access(file.Path); denied == nil && access.As != "" {
		s.logger.Warn("cannot open log file", "app", cfg.Name, "file", file.Path, "error", err, "hint", "it is tried again for every line")
		return nil
	}
	return api.Errorf(api.ExitError, "cannot open the log of %s: %v", cfg.Name, err)
}

// opener opens the files of an app. An app whose user does not exist cannot start; until
// then its files are opened as those of the daemon.
func opener(cfg *config.App) safepath.Opener {
	o, _ := cfg.Opener()
	return o
}

// eachApp returns the apps of a configuration; an instance is an app of its own.
func eachApp(f *config.File) []*config.App {
	var all []*config.App
	for _, cfg := range f.Apps {
		all = append(all, cfg.Each()...)
	}
	return all
}

func gateSettings(cfg *config.App) remote.GateSettings {
	return remote.GateSettings{Limit: cfg.Hold.Limit, Timeout: cfg.Hold.Timeout}
}

// relaySettings are an app's settings in the terms of the relay.
func relaySettings(cfg *config.App) remote.ProxySettings {
	return remote.ProxySettings{
		RetryAfter: cfg.Hold.RetryAfter, ErrorPage: cfg.Hold.PageText,
		Buffering: cfg.BuffersBodies(),
		Timeout:   cfg.Timeout, Buffer: noneIfZero(cfg.Hold.Buffer), BufferTotal: noneIfZero(cfg.Hold.BufferTotal), HealthPath: cfg.Hold.Alive,
		AllowHalfClose:      cfg.HalfClose == "serve",
		FinishOnDisconnect:  cfg.OnLeave == "finish",
		PassUnderscores:     cfg.Underscores == "pass",
		RemoveNamed:         cfg.ConnectionNamed == "remove",
		IdempotencyKey:      slices.Contains(cfg.Resend, "key"),
		NoResend:            len(cfg.Resend) == 0,
		Trusted:             trusted(cfg.Trusted),
		TrustUnix:           slices.Contains(cfg.Trusted, "unix"),
		ListenProxyProtocol: cfg.ListenProxyProtocol,
		ProxyProtocolFrom:   proxyProtocolFrom(cfg.ProxyProtocolFrom),
		Limits: remote.Limits{Head: int(cfg.Limits.Head), Target: int(cfg.Limits.Target),
			Field: int(cfg.Limits.Field), Fields: cfg.Limits.Fields, Body: cfg.Limits.Body},
		HeadTimeout: cfg.Limits.HeadTime, BodyTimeout: cfg.Limits.BodyTime,
		WriteTimeout: cfg.Limits.SendTime, IdleTimeout: cfg.Limits.Idle, TunnelTimeout: cfg.Limits.Tunnel,
		MinRate: noneIfZero(cfg.Limits.MinRate), WorkerMinRate: noneIfZero(cfg.Limits.MinRateWorker),
		MaxConnections: cfg.Limits.MaxConns,
		Access:         remote.Access(cfg.Log.Access), AccessSlow: cfg.Log.AccessSlow, AccessFormat: cfg.Log.AccessFormat,
	}
}

// noneIfZero converts a number of bytes for package proxy: there 0 is the default
// and a negative number means none.
func noneIfZero(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// trusted returns the addresses of trusted front-ends. It is never nil, which
// would be the proxy's default; trusted = [] trusts none.
func trusted(words []string) []netip.Prefix {
	prefixes := []netip.Prefix{}
	for _, w := range words {
		if p, err := netip.ParsePrefix(w); err == nil {
			prefixes = append(prefixes, p)
		} else if ip, err := netip.ParseAddr(w); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return prefixes
}

// proxyProtocolFrom returns the addresses of balancers whose PROXY headers are believed; nil: those
// of trusted front-ends.
func proxyProtocolFrom(words []string) []netip.Prefix {
	if words == nil {
		return nil
	}
	return trusted(words)
}

// refusal is the answer while the app is not to serve.
func refusal(cfg *config.App, cause string) *remote.Refusal {
	return &remote.Refusal{RetryAfter: cfg.Hold.RetryAfter, Cause: cause}
}

// logFile is where the app's output is kept.
func logFile(cfg *config.App) logs.FileOptions {
	return logs.FileOptions{Path: cfg.Log.File, MaxSize: cfg.Log.MaxSize, Every: cfg.Log.Every, MaxAge: cfg.Log.MaxAge,
		Backups: cfg.Log.Backups, Compress: cfg.Log.Compress, Mode: cfg.Log.Mode, Opener: opener(cfg)}
}
