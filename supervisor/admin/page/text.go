package page

import (
	"fmt"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// What index.html says, as page.js does.

// markText is the symbol of a state: it is never the colour alone that says what is.
func markText(s api.State) string {
	switch s {
	case api.Running:
		return "●"
	case api.Reloading:
		return "◐"
	case api.Holding:
		return "‖"
	case api.Backoff, api.Failed:
		return "✕"
	case api.Stopped:
		return "○"
	}
	return "◌"
}

// turnText is a host's part in the last rollout.
func turnText(h api.FleetHost) string {
	switch {
	case h.Turn == "" && !h.Here:
		return "✕ away"
	case h.Turn == "":
		return "–"
	}
	return turnMark(h.Turn) + " " + h.Turn
}

// turnMark is the symbol of such a part.
func turnMark(turn string) string {
	switch turn {
	case "ok":
		return "●"
	case "reloading":
		return "◐"
	case "failed", "gone", "away":
		return "✕"
	case "skipped":
		return "○"
	}
	return "◌"
}

// rolloutText says how the last rollout is.
func rolloutText(f *api.Fleet) string {
	text := f.Group + ": " + fmt.Sprint(f.Members) + " hosts"
	if f.Members > len(f.Hosts) {
		text += fmt.Sprintf(", %d of them shown", len(f.Hosts))
	}
	if r := f.Rollout; r != nil {
		text += fmt.Sprintf(" · rollout %d of %s: %s, %d of %d done", r.ID, strings.TrimSpace(r.App+" "+r.Revision), r.State, r.Done, r.Of)
		if r.Halted != "" {
			text += " · " + r.Halted
		}
	}
	if f.Behind != "" {
		text += " · a turn of this host waits for " + f.Behind
	}
	if f.Error != "" {
		text += " · as last known: " + f.Error
	}
	return text
}

func sizeText(n uint64) string {
	switch {
	case n == 0:
		return "–"
	case n < 1<<20:
		return fmt.Sprintf("%d KB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d GB", n>>30)
}

func shareText(share float64) string { return fmt.Sprintf("%.0f %%", share*100) }

func latencyText(s float64) string {
	if s == 0 {
		return "–"
	}
	return seconds(s)
}

func busyText(r *row) string {
	switch {
	case !r.Web:
		return "–"
	case r.Capacity == 0:
		return fmt.Sprint(r.InFlight)
	}
	return fmt.Sprintf("%d / %d", r.InFlight, r.Capacity)
}

func sinceText(now time.Time, since int64) string {
	if since == 0 {
		return "–"
	}
	return seconds(max(0, now.Sub(time.UnixMilli(since)).Seconds()))
}
