package proxy

import (
	"bytes"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/http1"
)

// takeBackTimeout bounds the wait for the next bytes of a request that comes back.
const takeBackTimeout = time.Second

// takeBack restores the part of a streamed body that was sent on a connection which no worker has
// accepted: it comes back behind the marker. The upload is stopped between two pieces of the body,
// and how it ended stays for stopUpload; where it has consumed nothing, there is nothing to restore.
// When not every byte comes back, or neither the app's budget for buffered bodies nor the spool
// suffices, the request stays consumed.
func (u *blockingUpstream) takeBack() {
	x, p := u.x, &u.upload
	echo := make(chan []byte, 1)
	go func() { echo <- u.readEcho() }() // meanwhile: a write under way ends when the other end reads
	if p.running() {
		u.client.conn.interrupt()
		<-p.done
	}
	if !x.consumed {
		u.Close()
		<-echo
		return
	}
	u.conn.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	all := <-echo
	sent, _ := x.appendRequest(nil, u.target) // with its PROXY line: no worker has used this connection
	if p.failed || int64(len(all)) != p.written || !bytes.HasPrefix(all, sent) {
		return
	}
	x.unconsume(all[len(sent):])
}

// readEcho reads what comes back behind the marker; nil: not all of it came.
func (u *blockingUpstream) readEcho() []byte {
	all := bytes.Clone(u.in.bytes()[len(u.target.Options().Marker):])
	piece := make([]byte, bufferSize)
	for {
		n, err := u.conn.read(piece, takeBackTimeout)
		all = append(all, piece[:n]...)
		if err == io.EOF {
			return all
		} else if err != nil {
			return nil
		}
	}
}

// unconsume puts the part of the body that was sent and is not stored behind what is. sent is all
// that was sent behind the stored memory, in the framing of the app's connection.
func (x *exchange) unconsume(sent []byte) {
	content := sent
	if x.request.Body.Framing == http1.Chunked {
		var chunks http1.BodyReader
		chunks.StartResponse(x.request.Body, &responseLimits)
		for content = nil; len(sent) > 0 && !chunks.Done(); {
			data, n, fault := chunks.Next(sent)
			if fault != nil {
				return
			}
			content, sent = append(content, data...), sent[n:]
		}
	}
	sentAgain := x.stored.size() - int64(len(x.stored.memory)) // from the file: it is there still
	if int64(len(content)) < sentAgain || !x.stored.restore(x, content[sentAgain:]) {
		return
	}
	x.consumed = false
	if x.body.done() {
		x.complete, x.streaming = true, false
	}
}

// restore appends p, which was stored before: in memory, or where the app's budget does not suffice
// in the file.
func (s *storedBody) restore(x *exchange, p []byte) bool {
	if s.inMemory() && x.reserve(int64(len(p))) {
		s.memory = append(s.memory, p...)
		return true
	}
	if x.settings.Buffering && s.toFile(x, p) {
		return true
	}
	if !s.inMemory() && x.reserve(int64(len(p))) {
		s.tail = append(s.tail, p...)
		return true
	}
	return false
}
