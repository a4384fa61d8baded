package listener

import "os"

// Inherited takes the sockets a service manager has passed (LISTEN_FDS), by name.
func Inherited() (map[string][]*os.File, error) { return nil, nil }
