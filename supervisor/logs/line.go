package logs

import (
	"encoding/json"
	"fmt"
	"time"
)

// Stream is the origin of a line.
type Stream int

const (
	Stdout Stream = iota
	Stderr
	Note   // messages of tideover itself
	Access // lines of the access log

	streamCount = iota // their number
)

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	case Access:
		return "access"
	}
	return "tideover"
}

// MarshalJSON encodes the name of the stream.
func (s Stream) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON decodes the name of a stream.
func (s *Stream) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err != nil {
		return err
	}
	for known := range Stream(streamCount) {
		if known.String() == name {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is not a stream", name)
}

// Line is one line of output, without its line feed. Text is what the child wrote, byte
// for byte. A line of more than 64 KiB is split into several.
type Line struct {
	Time       time.Time `json:"time"`
	App        string    `json:"app"`
	Generation int       `json:"generation"`
	Stream     Stream    `json:"stream"`
	Text       string    `json:"text"`
}
