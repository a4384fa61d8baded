package supervisor

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"tideover/proxy"
	"tideover/proxy/gate"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
	"tideover/supervisor/logs"
)

// settingsSource reads the configuration again.
type settingsSource struct {
	load     func() (*config.File, error) // nil: there is no file
	launcher *generation.Launcher
}

// app returns an app's settings as the file has them now; nil when there is no file.
func (s *settingsSource) app(name string) (*config.App, error) {
	if s.load == nil {
		return nil, nil
	}
	file, err := s.load()
	if err != nil {
		return nil, err
	}
	all := eachApp(file)
	i := slices.IndexFunc(all, func(a *config.App) bool { return a.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("app %s is no longer in %s; `tideover apply` removes it", name, file.Path)
	}
	return s.launcher.CheckSettings(all[i])
}

// eachApp returns the apps of a configuration; an instance is an app of its own.
func eachApp(f *config.File) []*config.App {
	var all []*config.App
	for _, cfg := range f.Apps {
		all = append(all, cfg.Each()...)
	}
	return all
}

func gateSettings(cfg *config.App) gate.Settings {
	return gate.Settings{Limit: cfg.Hold.Limit, Timeout: cfg.Hold.Timeout}
}

// relaySettings are an app's settings in the terms of package proxy.
func relaySettings(cfg *config.App) proxy.Settings {
	return proxy.Settings{
		RetryAfter: cfg.Hold.RetryAfter, ErrorPage: page(cfg),
		Timeout: cfg.Timeout, Buffer: noneIfZero(cfg.Hold.Buffer), BufferTotal: noneIfZero(cfg.Hold.BufferTotal), HealthPath: cfg.Hold.Alive,
		AllowHalfClose:     cfg.HalfClose == "serve",
		FinishOnDisconnect: cfg.OnLeave == "finish",
		PassUnderscores:    cfg.Underscores == "pass",
		IdempotencyKey:     slices.Contains(cfg.Resend, "key"),
		NoResend:           len(cfg.Resend) == 0,
		Trusted:            trusted(cfg.Trusted),
		TrustUnix:          slices.Contains(cfg.Trusted, "unix"),
		Limits: proxy.Limits{Head: int(cfg.Limits.Head), Target: int(cfg.Limits.Target),
			Fields: cfg.Limits.Fields, Body: cfg.Limits.Body},
		HeadTimeout: cfg.Limits.HeadTime, BodyTimeout: cfg.Limits.BodyTime,
		WriteTimeout: cfg.Limits.SendTime, IdleTimeout: cfg.Limits.Idle, TunnelTimeout: cfg.Limits.Tunnel,
		MinRate: noneIfZero(cfg.Limits.MinRate),
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

// page is the body of tideover's own 503; nil: plain text. A file that cannot be
// read now could be read when the configuration was checked.
func page(cfg *config.App) []byte {
	if cfg.Hold.Page == "" {
		return nil
	}
	text, err := os.ReadFile(cfg.Hold.Page)
	if err != nil {
		return nil
	}
	return text
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

// refusal is the answer while the app is not to serve.
func refusal(cfg *config.App, cause string) *gate.Refusal {
	return &gate.Refusal{RetryAfter: cfg.Hold.RetryAfter, Cause: cause}
}

// logFile is where the app's output is kept.
func logFile(cfg *config.App) logs.FileOptions {
	return logs.FileOptions{Path: cfg.Log.File, MaxSize: cfg.Log.MaxSize, Every: cfg.Log.Every, MaxAge: cfg.Log.MaxAge,
		Backups: cfg.Log.Backups, Compress: cfg.Log.Compress, Mode: cfg.Log.Mode}
}
