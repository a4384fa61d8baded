package http1

import "strconv"

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
