package http1

import "strconv"

// ChunkHeaderMax is the room the header of a chunk takes at most: 16 hex digits and CRLF.
const ChunkHeaderMax = 18

// ChunkEnd follows the data of each chunk; LastChunk ends the body (no trailers are ever written, R42, R79).
const (
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// AppendChunk appends data as one chunk. Empty data appends nothing, as an empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHeader(dst, len(data))
	dst = append(dst, data...)
	return append(dst, ChunkEnd...)
}

// AppendChunkHeader appends the header of a chunk of n > 0 octets.
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// PutChunkHeader writes the header of a chunk of n > 0 octets so that it ends at the end of room, which has at least
// ChunkHeaderMax octets, and returns where it begins: data read behind a reserved room become a chunk without a copy.
func PutChunkHeader(room []byte, n int) (start int) {
	start = len(room) - 2
	room[start], room[start+1] = '\r', '\n'
	for ; n > 0; n >>= 4 {
		start--
		room[start] = "0123456789abcdef"[n&15]
	}
	return start
}
