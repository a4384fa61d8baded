package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tideover/supervisor/lazyregexp"
)

// parseDuration parses "30s", "500ms", "2m", "1h30m" or "7d". A number without a unit
// is an error, because it could be seconds or milliseconds.
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, &hintedError{fmt.Sprintf("%q is not a duration", s), fmt.Sprintf(`add a unit: "%ss", "%sms"`, s, s)}
	}
	text := s
	var days time.Duration
	if number, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 100_000 {
			return 0, durationError(s)
		}
		days, text = time.Duration(n)*24*time.Hour, rest
	}
	if text == "" && s != "" {
		return days, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, durationError(s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return days + d, nil
}

func durationError(s string) error {
	return fmt.Errorf(`%q is not a duration such as "30s", "500ms" or "2m"`, s)
}

// formatDuration returns the shortest text that parseDuration parses as d.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// sizeUnits are the units in bytes. K, M and G are powers of 1024, as in supervisord
// and logrotate; KB, MB and GB are powers of 1000.
var sizeUnits = map[string]float64{
	"b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
}

var sizeText = lazyregexp.New(`^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$`)

// parseSize parses "64KiB", "8190B", "1.5MiB" or "0B". A number without a unit is an
// error.
func parseSize(s string) (int64, error) {
	match := sizeText.FindStringSubmatch(s)
	if match == nil {
		return 0, sizeError(s)
	}
	if match[2] == "" {
		return 0, &hintedError{fmt.Sprintf("%q is not a size", s), fmt.Sprintf(`add a unit: "%sB", "%sKiB", "%sMiB"`, s, s, s)}
	}
	unit, ok := sizeUnits[strings.ToLower(match[2])]
	number, err := strconv.ParseFloat(match[1], 64)
	if !ok || err != nil || number*unit > math.MaxInt64/2 {
		return 0, sizeError(s)
	}
	return int64(number * unit), nil
}

func sizeError(s string) error {
	return fmt.Errorf(`%q is not a size such as "64KiB", "100MiB" or "8190B"`, s)
}

// FormatSize returns the shortest text that parseSize parses as n bytes.
func FormatSize(n int64) string {
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
