package process

import (
	"net"
	"testing"
)

func TestAPortThatTheKernelChoseIsEphemeral(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for address, want := range map[string]bool{l.Addr().String(): true, "127.0.0.1:1": false, "[::]:1": false, "/run/x.sock": false, "": false} {
		if got := (Listening{Network: "tcp", Address: address}).Ephemeral(); got != want {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
	}
}
