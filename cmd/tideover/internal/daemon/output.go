package daemon

import (
	"io"
	"sync"

	"tideover/cmd/tideover/internal/term"
)

// sharedOutput is standard output, written by the apps and by the startup view
// in turn, whole lines each. On a terminal an app's control characters are made
// visible, but for colours. A write blocks while standard output does, so each writer has
// a goroutine and a ring of its own (package logs).
type sharedOutput struct {
	mu     sync.Mutex // guards screen.Out
	screen term.Screen
}

// Write writes lines of an app.
func (o *sharedOutput) Write(p []byte) (int, error) {
	text := string(p)
	if o.screen.Terminal {
		text = term.SanitizeLines(text)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := io.WriteString(o.screen.Out, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// daemonLines writes lines of the daemon itself, as they are.
type daemonLines struct{ *sharedOutput }

func (o daemonLines) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.screen.Out.Write(p)
}
