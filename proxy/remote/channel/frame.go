package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// version is that of the frames. It changes when an older reader would misunderstand them.
	version = 1
	// headerSize is the size of the header that this version writes, and the least that it reads.
	headerSize = 32
	// maxFrameBody is how many bytes of a body one frame carries. A packet must fit into the send
	// buffer of the socket, which is 208 KiB by default.
	maxFrameBody = 64 << 10
	// maxFrameFiles is how many descriptors one frame carries. The kernel's limit is 253
	// (SCM_MAX_FD).
	maxFrameFiles = 250
)

// A kind says what a frame is. Frames of unknown kinds are skipped.
type kind uint8

const (
	kindCall kind = iota + 1
	kindAnswer
	kindFailure // an answer that is an error: its code, and a text as body
	kindCancel  // the caller has forgotten the call
	kindAck     // the descriptors of one frame have arrived
)

// flagMore says that the message goes on in the next frame.
const flagMore = 1

// header is what a frame begins with.
type header struct {
	kind       kind
	flags      uint8
	code       uint16 // method of a call, Code of a failure
	files      uint16 // number of descriptors that come with the frame
	epoch      uint64 // of the call
	call       uint64 // number of the call, unique within the epoch and the direction
	generation uint64 // what the call is about; not read here
}

// appendTo appends the encoded header to b.
func (h *header) appendTo(b []byte) []byte {
	b = append(b, version, headerSize, byte(h.kind), h.flags)
	b = binary.LittleEndian.AppendUint16(b, h.code)
	b = binary.LittleEndian.AppendUint16(b, h.files)
	b = binary.LittleEndian.AppendUint64(b, h.epoch)
	b = binary.LittleEndian.AppendUint64(b, h.call)
	return binary.LittleEndian.AppendUint64(b, h.generation)
}

// parseFrame splits a packet into its header and its part of the body, which is a part of packet.
func parseFrame(packet []byte) (h header, body []byte, err error) {
	if len(packet) < headerSize {
		return h, nil, errors.New("a frame is shorter than its header")
	}
	if packet[0] != version {
		return h, nil, fmt.Errorf("a frame has version %d instead of %d", packet[0], version)
	}
	size := int(packet[1])
	if size < headerSize || size > len(packet) {
		return h, nil, fmt.Errorf("a frame of %d bytes has a header of %d", len(packet), size)
	}
	h = header{
		kind: kind(packet[2]), flags: packet[3],
		code:       binary.LittleEndian.Uint16(packet[4:]),
		files:      binary.LittleEndian.Uint16(packet[6:]),
		epoch:      binary.LittleEndian.Uint64(packet[8:]),
		call:       binary.LittleEndian.Uint64(packet[16:]),
		generation: binary.LittleEndian.Uint64(packet[24:]),
	}
	body = packet[size:]
	switch {
	case len(body) > maxFrameBody:
		return h, nil, fmt.Errorf("a frame has a body of %d bytes", len(body))
	case h.files > maxFrameFiles:
		return h, nil, fmt.Errorf("a frame has %d descriptors", h.files)
	}
	return h, body, nil
}
