package http1

// ChunkHeaderMax is the room the header of a chunk takes at most: 16 hex digits and CRLF.
const ChunkHeaderMax = 18

// ChunkEnd follows the data of each chunk; LastChunk ends the body (no trailers are ever written, R42, R79).
const (
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// AppendChunk appends data as one chunk. Empty data appends nothing, as an empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte { return dst }

// PutChunkHeader writes the header of a chunk of n > 0 bytes so that it ends at the end of room, which has at least
// ChunkHeaderMax bytes, and returns where it begins: data read behind a reserved room becomes a chunk without a copy.
func PutChunkHeader(room []byte, n int) (start int) { return 0 }
