package remote

import (
	"net"
	"slices"
	"testing"
)

// Between two writes, a server that dies would leave a connection of which it is not known what was
// read.
func TestThePROXYLineIsWrittenWithTheRequest(t *testing.T) {
	written := &writes{}
	c := &lineConn{written, "PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\n"}
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "more"} {
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if want := []string{"PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\nGET / HTTP/1.1\r\n\r\n", "more"}; !slices.Equal(written.all, want) {
		t.Errorf("written: %q", written.all)
	}
}

// writes is a connection that keeps what is written.
type writes struct {
	net.Conn
	all []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	return len(p), nil
}
