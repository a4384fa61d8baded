package rpc

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
)

// packConnections returns connections whose FD is an index into files, which are duplicates.
func packConnections(all []remote.Connection) (packed []remote.Connection, files []*os.File, err error) {
	packed = slices.Clone(all)
	for i := range packed {
		f, err := remote.Duplicate(packed[i].FD)
		if err != nil {
			closeFiles(files)
			return nil, nil, err
		}
		packed[i].FD = i
		files = append(files, f)
	}
	return packed, files, nil
}

// unpackConnections gives connections their descriptors, which are the caller's from here on. It
// closes the files.
func unpackConnections(packed []remote.Connection, files []*os.File) (all []remote.Connection, err error) {
	defer closeFiles(files)
	seen := make([]bool, len(files))
	for _, c := range packed {
		if c.FD < 0 || c.FD >= len(files) || seen[c.FD] {
			closeConnections(all)
			return nil, errors.New("a connection has no descriptor of its own")
		}
		seen[c.FD] = true
		dup, err := unix.FcntlInt(files[c.FD].Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			closeConnections(all)
			return nil, os.NewSyscallError("fcntl", err)
		}
		c.FD = dup
		all = append(all, c)
	}
	return all, nil
}

func closeConnections(all []remote.Connection) {
	for _, c := range all {
		unix.Close(c.FD)
	}
}
