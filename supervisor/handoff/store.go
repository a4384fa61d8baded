package handoff

import (
	"context"
	"os"
)

// A Store keeps descriptors for the next supervisor, by name: it is in a process that outlives this
// one. Its methods may be called from any goroutine.
type Store interface {
	// Put keeps a duplicate of a descriptor. It returns when it is kept: only then may something that
	// cannot be taken back depend on it. A name that is in use gets the new descriptor. The file stays
	// the caller's.
	Put(ctx context.Context, name string, file *os.File) error
	// Drop closes what is kept under these names. Unknown names are no error.
	Drop(ctx context.Context, names ...string) error
}
