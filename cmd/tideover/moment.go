package main

import (
	"fmt"
	"time"
)

// moment is a flag: a time, or how long ago. Its zero value is none.
type moment struct {
	text string
	time.Time
}

// momentLayouts are the forms of a time, in the local zone.
var momentLayouts = []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

func (m *moment) Set(text string) error {
	now := time.Now()
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		*m = moment{text, now.Add(-ago)}
		return nil
	}
	for _, layout := range momentLayouts {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			*m = moment{text, at}
			return nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} { // of today
		if at, err := time.Parse(layout, text); err == nil {
			year, month, day := now.Date()
			*m = moment{text, time.Date(year, month, day, at.Hour(), at.Minute(), at.Second(), 0, time.Local)}
			return nil
		}
	}
	return fmt.Errorf("%q is no time: write how long ago (90s, 15m, 2h), 14:30, or 2026-01-31T14:30:00", text)
}

func (m *moment) String() string { return m.text }
func (m *moment) Type() string   { return "time" }
