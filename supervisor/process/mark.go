package process

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A tree marks its members twice. The soft RLIMIT_LOCKS, which no kernel after 2.4 looks at, is a
// number made of the token: it is inherited over every fork and exec, also by a process that makes a
// session or clears its environment, and every user can read it. The token is in the environment as
// well, for kernels that emulate Linux without this limit.
const treeVariable = "TIDEOVER_TREE"

// markNumber is never the unlimited one.
func markNumber(token string) uint64 {
	sum := sha256.Sum256([]byte(token))
	return binary.BigEndian.Uint64(sum[:]) >> 1
}

// setMark marks the calling process. Where it cannot, the environment must do.
func setMark(token string) error {
	var limit syscall.Rlimit
	if token == "" || syscall.Getrlimit(unix.RLIMIT_LOCKS, &limit) != nil {
		return nil
	}
	limit.Cur = markNumber(token)
	syscall.Setrlimit(unix.RLIMIT_LOCKS, &limit)
	return nil
}

// isMarked looks for the token's marks. The error says that it could not look, for want of descriptors or the like; what another
// user's process hides is no error.
func isMarked(pid int, token string) (bool, error) {
	if token == "" {
		return false, nil
	}
	limits, err := readOpenly(pid, "limits")
	if err != nil {
		return false, err
	}
	if number := limitsMark(limits); number != "" {
		return number == strconv.FormatUint(markNumber(token), 10), nil
	}
	environ, err := readOpenly(pid, "environ")
	return environMarked(environ, token), err
}

// readOpenly reads nothing from a process that is gone or hidden from us.
func readOpenly(pid int, name string) ([]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil && (isNoProcess(err) || errors.Is(err, os.ErrPermission)) {
		return nil, nil
	}
	return text, err
}

// limitsMark is the number in a line like "Max file locks            123                  unlimited            locks", if it is one.
func limitsMark(limits []byte) string {
	for line := range strings.Lines(string(limits)) {
		if values, ok := strings.CutPrefix(line, "Max file locks "); ok {
			if f := strings.Fields(values); len(f) > 0 && f[0] != "unlimited" {
				return f[0]
			}
		}
	}
	return ""
}

func environMarked(environ []byte, token string) bool {
	want := []byte(treeVariable + "=" + token)
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(entry, want) {
			return true
		}
	}
	return false
}
