package page

import (
	"fmt"
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
