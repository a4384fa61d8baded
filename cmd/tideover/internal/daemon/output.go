package daemon

import (
	"fmt"
	"io"
	"sync"

	"tideover/cmd/tideover/internal/term"
)

// sharedOutput is standard output, written by the apps and by the startup view
// in turn, whole lines each. On a terminal an app's control characters are made
// visible, but for colours.
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

// printf writes lines of the daemon itself.
func (o *sharedOutput) printf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.screen.Out, format, args...)
}
