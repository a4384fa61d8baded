package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// Statuses is a set of HTTP status codes, written "<500", "200", "200,302",
// "2xx" or "200-399". The zero value is empty.
type Statuses struct {
	text   string
	ranges [][2]int
}

// Counts reports whether code is one of them.
func (s Statuses) Counts(code int) bool {
	for _, r := range s.ranges {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

// Names reports whether code itself is written in the set, not only a range that has it.
func (s Statuses) Names(code int) bool {
	return slices.Contains(s.ranges, [2]int{code, code})
}

// String is how the set was written.
func (s Statuses) String() string { return s.text }

var (
	statusBelow = lazyregexp.New(`^<(=?)(\d{3})$`)
	statusRange = lazyregexp.New(`^(\d{3})(?:-(\d{3}))?$`)
	statusClass = lazyregexp.New(`^([1-9])xx$`)
)

// ParseStatuses reads a set of status codes.
func ParseStatuses(text string) (Statuses, error) {
	s := Statuses{text: text}
	for _, part := range strings.Split(text, ",") {
		r, ok := statusPart(strings.TrimSpace(part))
		if !ok || r[0] > r[1] || r[0] < 100 {
			return Statuses{}, fmt.Errorf(`%q is not a set of status codes such as "<500", "200", "200,302", "2xx" or "200-399"`, text)
		}
		s.ranges = append(s.ranges, r)
	}
	return s, nil
}

func statusPart(part string) ([2]int, bool) {
	number := func(text string) int {
		n, _ := strconv.Atoi(text) // three digits
		return n
	}
	if m := statusBelow.FindStringSubmatch(part); m != nil {
		if m[1] == "=" {
			return [2]int{100, number(m[2])}, true
		}
		return [2]int{100, number(m[2]) - 1}, true
	}
	if m := statusClass.FindStringSubmatch(strings.ToLower(part)); m != nil {
		return [2]int{number(m[1]) * 100, number(m[1])*100 + 99}, true
	}
	if m := statusRange.FindStringSubmatch(part); m != nil {
		if m[2] == "" {
			m[2] = m[1]
		}
		return [2]int{number(m[1]), number(m[2])}, true
	}
	return [2]int{}, false
}
