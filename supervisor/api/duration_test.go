package api

import (
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 240 * time.Millisecond: "240 ms", time.Second: "1 s", 1500 * time.Millisecond: "1.5 s", time.Minute: "1 min",
		9 * time.Millisecond: "9 ms", 7810 * time.Millisecond: "7.8 s", 252 * time.Second: "4 min 12 s", 30 * time.Second: "30 s",
		3*time.Hour + 5*time.Minute: "3 h 5 min", 51 * time.Hour: "2 d 3 h",
		90 * time.Second: "1 min 30 s", 2 * time.Hour: "2 h", 125 * time.Minute: "2 h 5 min", 48 * time.Hour: "2 d",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}
