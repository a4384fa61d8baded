package loadgen

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// WebSocket is a client's end of a websocket that carries short texts.
type WebSocket struct {
	conn   net.Conn
	reader *bufio.Reader
}

// WebSocket asks for an upgrade and waits for the 101.
func (c *Client) WebSocket(ctx context.Context, path string) (*WebSocket, error) {
	conn, err := c.connect(ctx, Kind{})
	if err != nil {
		return nil, err
	}
	if deadline, set := ctx.Deadline(); set {
		conn.SetDeadline(deadline)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, c.host())
	res, err := http.ReadResponse(conn.reader, nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the handshake was answered with %s", res.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return &WebSocket{conn: conn.Conn, reader: conn.reader}, nil
}

// Echo sends a text of at most 125 bytes and returns the next text that comes;
// io.EOF when the server closed the websocket.
func (w *WebSocket) Echo(text string, patience time.Duration) (string, error) {
	w.conn.SetDeadline(time.Now().Add(patience))
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked with zeros
	if _, err := w.conn.Write(frame); err != nil {
		return "", err
	}
	return w.Read(patience)
}

// Read waits for the next text.
func (w *WebSocket) Read(patience time.Duration) (string, error) {
	w.conn.SetDeadline(time.Now().Add(patience))
	var head [2]byte
	if _, err := io.ReadFull(w.reader, head[:]); err != nil {
		return "", err
	}
	length := int(head[1] & 0x7f)
	if length == 126 {
		var long [2]byte
		if _, err := io.ReadFull(w.reader, long[:]); err != nil {
			return "", err
		}
		length = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(w.reader, payload); err != nil {
		return "", err
	}
	switch head[0] & 0x0f {
	case 1:
		return string(payload), nil
	case 8:
		return "", io.EOF
	}
	if head[0]&0x0f == 9 { // a ping; a server closes a connection that does not answer
		if _, err := w.conn.Write(append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)); err != nil {
			return "", err
		}
	}
	return w.Read(patience)
}

// Close ends the connection without ceremony.
func (w *WebSocket) Close() error { return w.conn.Close() }
