package api

import (
	"fmt"
	"time"
)

// FormatDuration formats d for sentences and tables: "240 ms", "1.5 s", "1 min", "2 h 5 min".
func FormatDuration(d time.Duration) string {
	two := func(many time.Duration, name string, rest time.Duration, small string) string {
		if rest == 0 {
			return fmt.Sprintf("%d %s", many, name)
		}
		return fmt.Sprintf("%d %s %d %s", many, name, rest, small)
	}
	switch {
	case d < time.Millisecond:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute && d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return two(d/time.Minute, "min", d%time.Minute/time.Second, "s")
	case d < 24*time.Hour:
		return two(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	}
	return two(d/(24*time.Hour), "d", d%(24*time.Hour)/time.Hour, "h")
}
