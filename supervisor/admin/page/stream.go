package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxViewers bounds the streams that are open at once.
	maxViewers = 32
	// maxQueue is how many messages a viewer may be behind; beyond that it is disconnected, and asks
	// again by itself.
	maxQueue = 64
	// maxPart bounds the rows of one message in bytes, but for the last of them.
	maxPart = 64 << 10
	// eventTimeout is how long a viewer may take for one message.
	eventTimeout = 10 * time.Second
)

// viewer is an open page.
type viewer struct {
	messages chan []byte   // capacity maxQueue
	behind   chan struct{} // closed when messages was full
}

// update is what has changed.
type update struct {
	Now    int64             `json:"now"` // in ms since 1970
	Daemon *daemonFacts      `json:"daemon,omitempty"`
	Order  []string          `json:"order,omitempty"` // all apps, when they are others
	Rows   []json.RawMessage `json:"rows,omitempty"`
	Fleet  json.RawMessage   `json:"fleet,omitempty"` // an api.Fleet, when it is another
	// Of the first one:
	Host    string   `json:"host,omitempty"`
	Entries []*entry `json:"entries,omitempty"`
}

// parts splits an update so that each part is bounded.
func (u update) parts() (all []update) {
	rows := u.Rows
	for {
		u.Rows = nil
		for size := 0; len(rows) > 0 && size < maxPart; rows = rows[1:] {
			u.Rows, size = append(u.Rows, rows[0]), size+len(rows[0])
		}
		all = append(all, u)
		if len(rows) == 0 {
			return all
		}
		u = update{Now: u.Now}
	}
}

// message is a server-sent event.
func message(event string, data any) []byte {
	text, _ := json.Marshal(data) // of types that can be encoded
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, text)
}

// publishLocked sends a message to every viewer. One that is too far behind is disconnected.
func (p *Page) publishLocked(m []byte) {
	for v := range p.viewers {
		select {
		case v.messages <- m:
		default:
			delete(p.viewers, v)
			close(v.behind)
		}
	}
}

// join adds a viewer, and returns the messages that say what there is. It is nil when there are too
// many.
func (p *Page) join() (*viewer, [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.viewers) >= maxViewers {
		return nil, nil
	}
	v := &viewer{messages: make(chan []byte, maxQueue), behind: make(chan struct{})}
	p.viewers[v] = true
	u := update{Now: time.Now().UnixMilli(), Daemon: &p.daemon, Order: p.order, Host: p.options.Host, Entries: p.entries, Fleet: p.hosts}
	for _, name := range p.order {
		u.Rows = append(u.Rows, p.encoded[name])
	}
	var first [][]byte
	for _, part := range u.parts() {
		first = append(first, message("update", part))
	}
	return v, first
}

func (p *Page) leave(v *viewer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.viewers, v)
}

// events answers with the stream of what there is and what changes.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	v, first := p.join()
	if v == nil {
		http.Error(w, "the page is open too often", http.StatusServiceUnavailable)
		return
	}
	defer p.leave(v)
	p.wake()
	s := newStream(w, "text/event-stream")
	s.send([]byte("retry: 2000\n\n"))
	for _, m := range first {
		s.send(m)
	}
	for s.failed == nil {
		select {
		case m := <-v.messages:
			s.send(m)
		case <-v.behind:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// stream is an answer that goes on. It has a time limit for each part.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	failed     error
}

func newStream(w http.ResponseWriter, mediaType string) *stream {
	s := &stream{w: w, controller: http.NewResponseController(w)}
	s.controller.SetReadDeadline(time.Time{}) // else the request ends with the time for its head
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx passes on each part at once
	w.WriteHeader(http.StatusOK)
	return s
}

func (s *stream) send(part []byte) {
	if s.failed != nil {
		return
	}
	s.controller.SetWriteDeadline(time.Now().Add(eventTimeout))
	if _, s.failed = s.w.Write(part); s.failed == nil {
		s.failed = s.controller.Flush()
	}
}
