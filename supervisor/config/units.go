package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads "30s", "500ms", "2m", "1h30m" or "7d"; a plain number is
// refused, because nobody can tell what it means.
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, &hinted{fmt.Sprintf("%q is not a duration", s), fmt.Sprintf(`add a unit: "%ss", "%sms"`, s, s)}
	}
	text := s
	var days time.Duration
	if number, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 100_000 {
			return 0, notADuration(s)
		}
		days, text = time.Duration(n)*24*time.Hour, rest
	}
	if text == "" && s != "" {
		return days, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, notADuration(s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return days + d, nil
}

func notADuration(s string) error {
	return fmt.Errorf(`%q is not a duration such as "30s", "500ms" or "2m"`, s)
}

// spellDuration is the shortest text parseDuration reads as d.
func spellDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// sizeUnits are powers of 1024, and of 1000 where the unit says so. As in
// supervisord and logrotate, a bare K or M is one of 1024.
var sizeUnits = map[string]float64{
	"b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
}

var sizeText = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$`)

// parseSize reads "64KiB", "8190B", "1.5MiB", "0B"; a plain number is refused.
func parseSize(s string) (int64, error) {
	match := sizeText.FindStringSubmatch(s)
	if match == nil {
		return 0, notASize(s)
	}
	if match[2] == "" {
		return 0, &hinted{fmt.Sprintf("%q is not a size", s), fmt.Sprintf(`add a unit: "%sB", "%sKiB", "%sMiB"`, s, s, s)}
	}
	unit, ok := sizeUnits[strings.ToLower(match[2])]
	number, err := strconv.ParseFloat(match[1], 64)
	if !ok || err != nil || number*unit > math.MaxInt64/2 {
		return 0, notASize(s)
	}
	return int64(number * unit), nil
}

func notASize(s string) error {
	return fmt.Errorf(`%q is not a size such as "64KiB", "100MiB" or "8190B"`, s)
}

// spellSize is the shortest text parseSize reads as n.
func spellSize(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
