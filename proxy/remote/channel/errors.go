package channel

import (
	"errors"
	"fmt"
)

// Errors of a channel. An error that ended the channel is an [ErrEnded] too.
var (
	// ErrEnded is what every open call fails with when the channel ends: the peer has exited or
	// was killed, the channel was closed, or the peer broke the protocol.
	ErrEnded = errors.New("the channel to the other process has ended")
	// ErrClosed says that this process has closed the channel.
	ErrClosed = errors.New("it was closed")
	// ErrNotReading says that the peer has not read for WriteTimeout.
	ErrNotReading = errors.New("the other process does not read")
	// ErrProtocol says that the peer has sent what no correct peer sends.
	ErrProtocol = errors.New("the other process broke the protocol")
	// ErrDescriptors says that descriptors were lost, because a process has no more of them.
	ErrDescriptors = errors.New("no descriptors are left (RLIMIT_NOFILE)")
	// ErrTooLarge says that a message was not sent, because it exceeds MaxMessage or MaxMessageFiles.
	ErrTooLarge = errors.New("the message is too large for the channel")
)

// A Code says how a call failed. Those from CodeOwn on belong to the caller of [Request.Fail].
type Code uint16

const (
	codeDescriptors Code = iota + 1 // ErrDescriptors at the peer
	codeEpoch                       // a later process has taken over
	codeUnsent                      // the answer cannot be sent
	CodeOwn         Code = 64
)

// A Failure is an error with which the peer has answered a call.
type Failure struct {
	Code Code
	Text string
}

func (f *Failure) Error() string { return f.Text }

// Is makes a Failure an [ErrDescriptors] where it is one.
func (f *Failure) Is(target error) bool {
	return target == ErrDescriptors && f.Code == codeDescriptors
}

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}
