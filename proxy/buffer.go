package proxy

import "sync"

const (
	// bufferSize is the size of a pooled buffer: nearly every head fits, and a good piece of a
	// body.
	bufferSize = 16 << 10
	// minOwnBuffer is the least size of a buffer for the rest of a head that comes in pieces.
	minOwnBuffer = 512
	// largeBufferSize is the size of a buffer through which a long body goes: more than half of what an
	// app's unix socket holds (decision 0017).
	largeBufferSize = 128 << 10
)

var (
	buffers      = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBufferSize]byte) }}
)

// A buffer holds bytes that were read and not consumed: data[start:end]. It has memory only while
// it is needed.
type buffer struct {
	data       []byte
	start, end int
	memory     bufferMemory
}

// bufferMemory is where the memory of a buffer comes from.
type bufferMemory uint8

const (
	ownMemory    bufferMemory = iota
	pooledMemory              // buffers
	largeMemory               // largeBuffers
)

func (b *buffer) bytes() []byte { return b.data[b.start:b.end] }
func (b *buffer) empty() bool   { return b.start == b.end }

// reset drops the bytes, but not the memory.
func (b *buffer) reset() { b.start, b.end = 0, 0 }

// take makes sure that there is memory.
func (b *buffer) take() {
	if b.data == nil {
		b.data, b.start, b.end = buffers.Get().(*[bufferSize]byte)[:], 0, 0
		b.memory = pooledMemory
	}
}

// room returns where further bytes can be read; it grows up to limit bytes. At the limit it is
// empty.
func (b *buffer) room(limit int) []byte {
	b.take()
	if b.empty() {
		b.start, b.end = 0, 0
	}
	if b.end == len(b.data) {
		b.end = copy(b.data, b.bytes())
		b.start = 0
	}
	if b.end == len(b.data) && b.end < limit {
		b.replace(make([]byte, min(limit, 2*len(b.data))))
	}
	return b.data[b.end:]
}

// enlarge makes room for large pieces. It does nothing unless the buffer is empty.
func (b *buffer) enlarge() {
	if b.memory != largeMemory && b.empty() {
		b.free()
		b.data, b.start, b.end = largeBuffers.Get().(*[largeBufferSize]byte)[:], 0, 0
		b.memory = largeMemory
	}
}

// unpool gives a pooled buffer back that holds little, for one of its own with room for as much
// again.
func (b *buffer) unpool() {
	if n := b.end - b.start; b.memory == pooledMemory && n <= bufferSize/4 {
		b.replace(make([]byte, max(minOwnBuffer, 2*n)))
	}
}

// shrink keeps exactly the bytes there are and gives the rest of the memory back.
func (b *buffer) shrink() { b.replace(make([]byte, b.end-b.start)) }

// replace moves the bytes into other memory.
func (b *buffer) replace(data []byte) {
	n := copy(data, b.bytes())
	b.free()
	b.data, b.start, b.end = data, 0, n
}

// hold makes the buffer hold p, and nothing else; p may be the end of what it holds.
func (b *buffer) hold(p []byte) {
	if len(p) == 0 {
		b.release()
		return
	}
	if start := b.end - len(p); start >= b.start && &b.data[start] == &p[0] {
		b.start = start
		return
	}
	data := make([]byte, max(bufferSize, len(p)))
	n := copy(data, p)
	b.free()
	b.data, b.start, b.end = data, 0, n
}

// release drops the bytes and gives the memory back.
func (b *buffer) release() {
	b.free()
	b.data, b.start, b.end = nil, 0, 0
}

// free gives memory of a pool back. The caller gives the buffer other memory, or none.
func (b *buffer) free() {
	switch b.memory {
	case pooledMemory:
		buffers.Put((*[bufferSize]byte)(b.data))
	case largeMemory:
		largeBuffers.Put((*[largeBufferSize]byte)(b.data))
	}
	b.memory = ownMemory
}
