package config

// Statuses is a set of HTTP status codes, written "<500", "200", "200,302",
// "2xx" or "200-399".
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

func (s Statuses) String() string { return s.text }
