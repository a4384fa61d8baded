package http1

import (
	"testing"
)

// skipText tests eight octets at a time. It must return what a test of each octet returns, at every
// alignment.
func TestSkipText(t *testing.T) {
	slow := func(b []byte, i int) int {
		for i < len(b) && (b[i] == '\t' || b[i] >= ' ' && b[i] != 0x7F) {
			i++
		}
		return i
	}
	random := newRandom(1)
	borderline := []byte{0, 8, 9, 10, 13, 0x1F, 0x20, 0x21, 0x7E, 0x7F, 0x80, 0x9F, 0xA0, 0xFE, 0xFF}
	for range 20_000 {
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = 'a'
			if random.IntN(6) == 0 {
				b[i] = borderline[random.IntN(len(borderline))]
			}
		}
		from := random.IntN(len(b) + 1)
		if got, want := skipText(b, from), slow(b, from); got != want {
			t.Fatalf("%q from %d: %d, want %d", b, from, got, want)
		}
	}
}

// Every known name is found in every spelling, and no other name is.
func TestIdentify(t *testing.T) {
	for id := nameHost; id < nameCount; id++ {
		text := []byte(names[id].text)
		if id == nameForwardedOther {
			text = append(text, "server"...)
		}
		if got := identify(text); got != id {
			t.Errorf("%s is %d, want %d", text, got, id)
		}
		for i, c := range text {
			if c == '-' {
				text[i] = '_'
			} else if 'a' <= c && c <= 'z' {
				text[i] = c - 'a' + 'A'
			}
		}
		if got := identify(text); got != id {
			t.Errorf("%s is %d, want %d", text, got, id)
		}
		text[len(text)/2] = '0'
		if got := identify(text); got == id && id != nameForwardedOther {
			t.Errorf("%s is identified as %s", text, names[id].text)
		}
		if got := identify(append([]byte(names[id].text), 'x')); got == id && id != nameForwardedOther {
			t.Errorf("a longer name is identified as %s", names[id].text)
		}
	}
	if identify(nil) != nameOther || identify([]byte("X-Forwarded-")) != nameOther {
		t.Error("nothing, or only a prefix, is a name")
	}
}
