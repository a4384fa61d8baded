package rpc

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
)

// packConnections returns connections whose FD is an index into fds.
func packConnections(all []remote.Connection) (packed []remote.Connection, fds []int) {
	packed = slices.Clone(all)
	for i := range packed {
		fds = append(fds, packed[i].FD)
		packed[i].FD = i
	}
	return packed, fds
}

// asFiles makes descriptors files, to which they belong from here on.
func asFiles(fds []int) (files []*os.File) {
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "connection"))
	}
	return files
}

// unpackConnections gives connections their descriptors, which are the caller's from here on. It
// closes the files, one by one: there may be no numbers for all connections twice.
func unpackConnections(packed []remote.Connection, files []*os.File) (all []remote.Connection, err error) {
	defer closeFiles(files)
	seen := make([]bool, len(files))
	for _, c := range packed {
		if c.FD < 0 || c.FD >= len(files) || seen[c.FD] {
			closeConnections(all)
			return nil, errors.New("a connection has no descriptor of its own")
		}
		seen[c.FD] = true
		f := files[c.FD]
		dup, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		f.Close()
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
