package generation

import (
	"fmt"
	"net"
	"os"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// Restore makes a Generation of what the former supervisor has left. When it fails, the descriptors are
// closed.
func (l *Launcher) Restore(cfg *config.App, left *handoff.GenerationState, kept *Kept) (_ *Generation, err error) {
	g := &Generation{LaunchSpec: LaunchSpec{App: cfg, Number: left.Number, Dir: left.Dir, Revision: left.Revision, tokens: l.options.State.TreePrefix()}, scratchDir: left.Scratch,
		Started: left.Started, Ready: left.Ready, Lenient: left.Lenient, Status: left.Status}
	g.marker = kept.Record.Marker // that of relays that were told of it before
	if len(g.marker) == 0 {
		g.marker = newMarker()
	}
	defer func() {
		if err != nil {
			g.cleanup()
			for _, f := range []*os.File{left.Private, left.Path, left.Notify} {
				f.Close() // for some of them the second time
			}
		}
	}()
	if cfg.User != "" || cfg.Group != "" {
		if g.User, err = process.ResolveUser(cfg.User, cfg.Group); err != nil {
			return nil, err
		}
	}
	at := upstream{network: left.Network, address: left.Address}
	switch {
	case left.Private != nil:
		if g.private, err = listener.RestorePrivate(left.Private, left.Network, left.Address, left.Path); err != nil {
			return nil, err
		}
		if at, err = l.privateUpstream(g.private); err != nil {
			return nil, err
		}
	case left.Network == "unix":
		if at, err = l.socketUpstream(left.Scratch, left.Address); err != nil {
			return nil, err
		}
	case left.Network == "tcp":
		_, port, ok := loopback(listener.Address{Network: "tcp", Address: left.Address})
		if !ok {
			return nil, fmt.Errorf("%s is not an address of a {port}", left.Address)
		}
		at = portUpstream(port)
	}
	at.peer = peer{remote.PeerPassing(left.Peer), left.Single}
	if g.Process, err = l.options.System.Adopt(left.Tree, left.Started); err != nil {
		return nil, err
	}
	l.options.State.Adopt(left.Tree.Token)
	g.kept, g.restored = kept.Record.DescriptorNames(), kept
	if left.Notify != nil {
		if g.notify, err = inheritNotifySocket(left.Notify); err != nil {
			return nil, err
		}
		g.notify.start(g.Process, l.logger)
	}
	g.buildTarget(l, at)
	if g.child != nil {
		g.child.signal() // it is proven anew
	}
	return g, nil
}

// Kept is what a supervisor that has died has kept of a generation.
type Kept struct {
	Record *handoff.GenerationRecord
	Proof  uint64 // number of the last proof of its socket; 0: there was none
}

// inheritNotifySocket takes over a socket that openNotifySocket has opened. Its
// generation is ready.
func inheritNotifySocket(f *os.File) (*notifySocket, error) {
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	socket := conn.(*net.UnixConn)
	n := newNotifySocket(socket.LocalAddr().String(), socket)
	close(n.ready)
	return n, nil
}
