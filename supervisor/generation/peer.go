package generation

import (
	"context"
	"strings"

	"tideover/proxy/remote"
	"tideover/supervisor/config"
)

// peer is how the address of a client reaches the app.
type peer struct {
	passing    remote.PeerPassing
	oneRequest bool
}

// newPeer returns how the address of a client reaches an app that is started now.
func newPeer(cfg *config.App) peer {
	if !cfg.Web() {
		return peer{}
	}
	switch cfg.PeerPassing() {
	case config.PeerProxyLine:
		return peer{remote.PeerProxyLine, cfg.Gunicorn.ForgetsPeer()}
	case config.PeerOneForwardedFor:
		return peer{passing: remote.PeerOneForwardedFor}
	}
	return peer{}
}

// probeLine is the PROXY line of a probe: the app sees a client of this machine.
const probeLine = "PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\n"

// refusesLine reports whether the server answers 400 to the PROXY line of the probe, and
// not to the request: it was not told to expect one, because a wrapper has overwritten
// GUNICORN_CMD_ARGS, or the command line says otherwise. answer is that to the probe.
// The result is then the answer without the line.
func (p httpProbe) refusesLine(ctx context.Context, answer ProbeResult) (ProbeResult, bool) {
	if p.line == "" || answer.Status != 400 {
		return answer, false
	}
	p.line = ""
	without, err := p.request(ctx, p.path)
	if err != nil || without.Status == 400 && (without.Text == answer.Text || !saysInvalidLine(answer.Text)) {
		return answer, false // an answer of the app, such as Django's to an unknown Host
	}
	return without, true
}

// saysInvalidLine reports whether a 400 is gunicorn's answer to a PROXY line.
func saysInvalidLine(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "invalid http version") || strings.Contains(text, "invalid request line")
}

// takeNoLine has the relay send no PROXY lines either, after the probe has found that the server
// takes none. The generation must not serve yet.
func (g *Generation) takeNoLine(l *Launcher) {
	g.probe.line = ""
	g.Target.message.Peer = remote.PeerInFields
	network, _ := g.Upstream()
	sees := "127.0.0.1"
	if network == "unix" {
		sees = "an empty REMOTE_ADDR"
	}
	l.logger.Warn("no PROXY lines", "app", g.App.Name, "generation", g.Number, "problem", "gunicorn answers 400 to a PROXY line, so the app sees "+sees+
		" for every client; X-Forwarded-For has the address",
		"hint", "GUNICORN_CMD_ARGS must reach gunicorn as tideover sets it, with --proxy-protocol at its end, and --proxy-protocol must not be off or v2 on the command line")
}
