package monitor

import (
	"reflect"
	"testing"
)

// FuzzFrame: what can be read is written again with the same bytes but for those that are 0.
func FuzzFrame(f *testing.F) {
	f.Add((&frame{kind: kindSpawn, call: 7, number: -1, errno: 11, text: "token\x00name\x00"}).encode())
	f.Add([]byte{})
	f.Add([]byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		read, err := decode(packet)
		if err != nil {
			return
		}
		again, err := decode(read.encode())
		if err != nil || !reflect.DeepEqual(read, again) {
			t.Errorf("%+v became %+v, %v", read, again, err)
		}
	})
}
