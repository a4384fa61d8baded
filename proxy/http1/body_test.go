package http1

import "testing"

// What is skipped counts like what Next has seen.
func TestSkippedContentCounts(t *testing.T) {
	var b BodyReader
	b.StartRequest(Body{Framing: Fixed, Length: 10}, &Limits{})
	b.Skip(4)
	if data, n, err := b.Next([]byte("567890GET")); string(data) != "567890" || n != 6 || err != nil || !b.Done() || b.Total != 10 {
		t.Errorf("%q %d %v, %d in all", data, n, err, b.Total)
	}
}
