// Package channel carries calls between two processes of tideover over a pair of SOCK_SEQPACKET
// sockets. It does not know what a call means: a call has a method number, a body and descriptors.
// Both sides may call. The answer to a call may come at once or much later.
//
// # Frames
//
// A message is sent as one frame, or as several when it has more than maxFrameBody bytes or
// maxFrameFiles descriptors. A frame is one packet, so a process that is killed never leaves half
// of one. The frames of one message follow each other; only acknowledgements come between them. A
// frame has a header of fixed layout (frame.go), which says its version and its own length: later
// versions append fields, which older ones skip. The body is encoded by the caller.
//
// Descriptors are sent by SCM_RIGHTS, and each frame with descriptors is acknowledged before the
// next one is sent, so that few of them are in flight: the kernel counts those toward the user's
// RLIMIT_NOFILE (ETOOMANYREFS). A receiver that has no numbers left for them gets MSG_CTRUNC; then
// the message fails with [ErrDescriptors], and the channel goes on.
//
// # Bounds
//
// The peer may be malicious: the relay parses what clients send. A frame that is malformed, larger
// than allowed, or that no correct peer would send at this point ends the channel with
// [ErrProtocol]. What a peer can make this process keep is bounded: MaxCalls open calls, one
// incomplete message, the bodies that MaxBody and the descriptors that MaxFiles allow.
//
// A peer that does not read costs no memory, because calls are not queued: a caller waits until its
// message can be written. When a frame cannot be written within WriteTimeout the channel ends with
// [ErrNotReading]. Only time in which this process ran counts (package awake).
//
// # Epochs
//
// A process that takes over its predecessor's socket has a higher epoch. A call of a lower epoch
// than one that was seen already is not executed, and an answer to a call of another epoch is
// dropped.
package channel
