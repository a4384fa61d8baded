package supervisor

import (
	"net/netip"
	"testing"

	"tideover/supervisor/config"
)

// Where the relay's own default is another one than what was written, the written one has to arrive: nothing is not the default.
func TestRelaySettingsSayWhatWasWritten(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct {
		words []string
		want  []netip.Prefix
		unix  bool
	}{
		{[]string{}, nil, false},
		{nil, nil, false},
		{[]string{"unix"}, nil, true},
		{[]string{"127.0.0.0/8", "::1", "unix"}, loopback, true},
		{[]string{"127.0.0.0/8", "::1"}, loopback, false},
	} {
		s := relaySettings(&config.App{Trusted: c.words})
		if s.Trusted == nil || len(s.Trusted) != len(c.want) || s.TrustUnix != c.unix {
			t.Errorf("%q: %v, unix %v", c.words, s.Trusted, s.TrustUnix)
		}
		for i, p := range c.want {
			if s.Trusted[i] != p {
				t.Errorf("%q: %v", c.words, s.Trusted)
			}
		}
	}
	if s := relaySettings(&config.App{}); s.Buffer >= 0 || s.BufferTotal >= 0 || s.MinRate >= 0 || s.WorkerMinRate >= 0 || s.FinishOnDisconnect || s.PassUnderscores || s.RemoveNamed {
		t.Errorf("%+v", s)
	}
	some := config.App{Buffering: "on", OnLeave: "finish", Underscores: "pass", ConnectionNamed: "remove", Limits: config.Limits{MinRate: 1000, MaxConns: 9, Tunnel: 5}, Hold: config.Hold{Buffer: 7, BufferTotal: 8}}
	if s := relaySettings(&some); s.Buffer != 7 || s.BufferTotal != 8 || s.MinRate != 1000 || s.MaxConnections != 9 || s.TunnelTimeout != 5 || !s.FinishOnDisconnect || !s.PassUnderscores || !s.RemoveNamed || !s.Buffering {
		t.Errorf("%+v", s)
	}
}
