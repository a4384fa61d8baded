package confine

import "strings"

// Options say how a role is confined. The role and the supervisor that verifies it use equal
// ones.
type Options struct {
	User *User `json:"user,omitempty"` // to become; nil: the user stays, and there is no chroot
	// Root is the directory that becomes the root of the file system, or, without a User, the
	// working directory. Unix sockets in it are reached by their names. It is absolute.
	Root    string  `json:"root"`
	Sockets Sockets `json:"sockets"`
}

// Sockets are the kinds of socket(2) that a role may make. Descriptors that it receives may be
// of any kind.
type Sockets string

const (
	NoSockets   Sockets = ""             // accept(2) alone
	UnixSockets Sockets = "unix"         // connect(2) to unix sockets
	UnixAndTCP  Sockets = "unix and tcp" // connect(2) to unix sockets and any TCP address
)

// Measure is one part of the confinement.
type Measure struct {
	Name   string `json:"name"` // "seccomp"
	Holds  bool   `json:"holds"`
	Reason string `json:"reason,omitempty"` // why it does not hold
}

// Missing returns the measures that do not hold.
func Missing(all []Measure) (missing []Measure) {
	for _, m := range all {
		if !m.Holds {
			missing = append(missing, m)
		}
	}
	return missing
}

// MissingText says which measures do not hold, and why, for a log; empty: all do.
func MissingText(all []Measure) string {
	var texts []string
	for _, m := range Missing(all) {
		texts = append(texts, m.Name+" ("+m.Reason+")")
	}
	return strings.Join(texts, "; ")
}
