package supervisor

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"tideover/listener"
	"tideover/proxy"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

func gateSettings(cfg *config.App) proxy.GateSettings {
	return proxy.GateSettings{Limit: cfg.Hold.Limit, Timeout: cfg.Hold.Timeout}
}

// relaySettings are an app's settings in the relay's own terms.
func relaySettings(cfg *config.App) proxy.Settings {
	return proxy.Settings{
		RetryAfter: cfg.Hold.RetryAfter, Page: page(cfg),
		Timeout: cfg.Timeout, Buffer: noneIfZero(cfg.Hold.Buffer), BufferTotal: noneIfZero(cfg.Hold.BufferTotal), Alive: cfg.Hold.Alive,
		ServeHalfClosed: cfg.HalfClose == "serve",
		KeepWorking:     cfg.OnLeave == "finish",
		PassUnderscores: cfg.Underscores == "pass",
		IdempotencyKey:  slices.Contains(cfg.Resend, "key"),
		NoResend:        len(cfg.Resend) == 0,
		Trusted:         trusted(cfg.Trusted),
		TrustUnix:       slices.Contains(cfg.Trusted, "unix"),
		Limits: proxy.Limits{Head: int(cfg.Limits.Head), Target: int(cfg.Limits.Target),
			Fields: cfg.Limits.Fields, Body: cfg.Limits.Body},
		HeadTimeout: cfg.Limits.HeadTime, BodyTimeout: cfg.Limits.BodyTime,
		WriteTimeout: cfg.Limits.SendTime, IdleTimeout: cfg.Limits.Idle, TunnelTimeout: cfg.Limits.Tunnel,
		MinRate: noneIfZero(cfg.Limits.MinRate),
	}
}

// noneIfZero is a number of bytes as the relay has it: there 0 means its own default, and less means none.
func noneIfZero(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// page is the body of tideover's own 503; nil: plain text. A file that cannot
// be read now was there when the configuration was checked.
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

// trusted are the addresses among the front-ends that are trusted; never nil, which would be the relay's default. trusted = [] is nobody.
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

// refusal is what everybody is told while the app may not answer.
func refusal(cfg *config.App, cause string) *proxy.Refusal {
	return &proxy.Refusal{RetryAfter: cfg.Hold.RetryAfter, Cause: cause}
}

// concurrency is how many requests gunicorn works on at once; 0: unknown.
func concurrency(cfg *config.App) int {
	if cfg.Gunicorn == nil {
		return 0
	}
	return cfg.Gunicorn.Concurrency()
}

// hostOf is the Host a client of the public address would send.
func hostOf(listen string) string {
	at, err := listener.Parse(listen)
	if err != nil || at.Network != "tcp" {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(at.Address)
	if err != nil {
		return "localhost"
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// loopback splits an address that only this machine reaches.
func loopback(at listener.Address) (ip string, port int, ok bool) {
	host, p, err := net.SplitHostPort(at.Address)
	if err != nil {
		return "", 0, false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.IsLoopback() {
		return "", 0, false
	}
	port, err = strconv.Atoi(p)
	return addr.String(), port, err == nil
}

// sameListener reports whether a socket found open is the one a bind asks for.
func sameListener(bind, network, address string) bool {
	want, err := listener.Parse(bind)
	if err != nil || want.Network != network && !(want.Network == "tcp" && network == "tcp6") {
		return false
	}
	if want.Network == "unix" {
		return want.Address == address
	}
	_, wantPort, err1 := net.SplitHostPort(want.Address)
	_, port, err2 := net.SplitHostPort(address)
	return err1 == nil && err2 == nil && wantPort == port
}

// logFile is where the app's output is kept.
func logFile(cfg *config.App) logs.FileOptions {
	return logs.FileOptions{Path: cfg.Log.File, MaxSize: cfg.Log.MaxSize, Every: cfg.Log.Every, MaxAge: cfg.Log.MaxAge,
		Backups: cfg.Log.Backups, Compress: cfg.Log.Compress, Mode: cfg.Log.Mode}
}
