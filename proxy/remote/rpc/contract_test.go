package rpc

import (
	"testing"

	"tideover/proxy/remote"
	"tideover/proxy/remote/remotetest"
)

func TestARelayBehindAChannel(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remote.Relay {
		return connectTo(t, func(s Start) Process { return remote.NewLocal(remote.LocalOptions{Page: s.Page}) })
	})
}
