package http1

import "strconv"

// ChunkHeaderMax is the maximum length of a chunk header: 16 hexadecimal digits and CRLF.
const ChunkHeaderMax = 18

// ChunkEnd follows the data of each chunk. LastChunk ends the body; trailers are never written
// (RuleTrailers, RuleResponseTrailers).
const (
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// AppendChunk appends data as one chunk. It appends nothing for empty data, because an empty chunk
// ends the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHeader(dst, len(data))
	dst = append(dst, data...)
	return append(dst, ChunkEnd...)
}

// AppendChunkHeader appends the header of a chunk of n octets. n must be positive.
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// PutChunkHeader writes the header of a chunk of n octets at the end of room and returns where it
// begins. n must be positive, and room must have ChunkHeaderMax octets at least. With it, data that
// was read after a reserved room becomes a chunk without a copy.
func PutChunkHeader(room []byte, n int) (start int) {
	start = len(room) - 2
	room[start], room[start+1] = '\r', '\n'
	for ; n > 0; n >>= 4 {
		start--
		room[start] = "0123456789abcdef"[n&15]
	}
	return start
}
