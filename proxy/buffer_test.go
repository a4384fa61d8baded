package proxy

import "testing"

func TestBuffer(t *testing.T) {
	var b buffer
	if room := b.room(bufferSize); len(room) != bufferSize {
		t.Fatalf("room for %d", len(room))
	}
	b.end = 100
	if b.room(4 * bufferSize); len(b.data) != bufferSize {
		t.Errorf("grew to %d bytes with room left", len(b.data))
	}
	b.end = bufferSize
	if room := b.room(1000); len(room) != 0 || len(b.bytes()) != bufferSize {
		t.Errorf("room for %d beyond the limit, %d bytes kept", len(room), len(b.bytes()))
	}
	if room := b.room(bufferSize + 10); len(room) != 10 || len(b.bytes()) != bufferSize {
		t.Errorf("room for %d at the limit, %d bytes kept", len(room), len(b.bytes()))
	}
	b.start, b.end = 50, len(b.data)
	if room := b.room(bufferSize + 10); len(room) != 50 || len(b.bytes()) != bufferSize-40 {
		t.Errorf("room for %d, %d bytes kept", len(room), len(b.bytes()))
	}
	if b.hold(nil); b.data != nil {
		t.Error("memory for nothing")
	}
}
