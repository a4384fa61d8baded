package generation

import (
	"context"
	"fmt"
	"time"

	"tideover/proxy/awake"
)

// baseline is what the app answered before the generation that is being started. A 400 or a
// 421 to the readiness probe says nothing of the new code if it was given before, too, to
// the same probe. The zero value is that of a first start: every such answer counts.
type baseline struct {
	serving *Generation // it serves meanwhile, and is asked; nil: none does
	status  int         // with which the last generation was ready; 0: there was none
	named   bool        // ready.status names the statuses 400 or 421: they count
}

// baselineTimeout bounds a request to the generation that serves: its workers may be busy.
const baselineTimeout = 5 * time.Second

// gives reports whether the answer of the app before was the same to the probe p. If it was
// not, text says what it was, in a line.
func (b baseline) gives(ctx context.Context, p httpProbe, status int) (same bool, text string) {
	if b.named {
		return true, ""
	}
	before, who := b.status, "the generation before was ready with"
	if b.serving != nil {
		if asked := b.ask(ctx, p); asked != 0 {
			before, who = asked, fmt.Sprintf("generation %d, which serves, answers", b.serving.Number)
		}
	}
	if before == 0 || before == status {
		return true, ""
	}
	return false, fmt.Sprintf("%d does not count, because %s %d: ", status, who, before)
}

// ask sends the probe to the generation that serves and returns the status; 0: it has not
// answered.
func (b baseline) ask(ctx context.Context, p httpProbe) int {
	ctx, cancel := awake.WithTimeout(ctx, baselineTimeout)
	defer cancel()
	old := httpProbe{ask: b.serving.probe.ask, line: b.serving.probe.line, host: p.host, tls: b.serving.probe.tls}
	result, err := old.request(ctx, p.path)
	if err != nil {
		return 0
	}
	return result.Status
}
