package remote_test

import (
	"testing"

	"tideover/proxy/remote"
	"tideover/proxy/remote/remotetest"
)

func TestLocal(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remote.Relay { return remote.NewLocal(remote.LocalOptions{}) })
}

func TestLocalWithAPageForOthers(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remote.Relay {
		page, err := remote.NewPage()
		if err != nil {
			t.Fatal(err)
		}
		return remote.NewLocal(remote.LocalOptions{Page: page})
	})
}
