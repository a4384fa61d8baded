package handoff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
)

// memory is a file in memory whose writer dies after a number of bytes.
type memory struct {
	pages map[int64]byte
	left  int // bytes until the writer dies
}

var errDied = errors.New("the writer has died")

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	for i, b := range p {
		if m.left == 0 {
			return i, errDied
		}
		m.left--
		m.pages[at+int64(i)] = b
	}
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		b, ok := m.pages[at+int64(i)]
		if !ok {
			return i, io.EOF
		}
		p[i] = b
	}
	return len(p), nil
}

// Whatever byte of whatever write is the last one, the text that is read is the one before, or the
// new one, and the next writer goes on behind it.
func TestATornWriteIsNeverRead(t *testing.T) {
	texts := [][]byte{[]byte("first"), []byte("a second one, which is longer"), []byte("3"), {}, []byte("the fifth"), []byte("fifth+1")}
	for written := 1; written < len(texts); written++ {
		for died := 0; ; died++ {
			m := &memory{pages: map[int64]byte{}, left: -1}
			s := &Slots{file: m}
			for _, text := range texts[:written] {
				if err := s.Write(text); err != nil {
					t.Fatal(err)
				}
			}
			m.left = died
			err := s.Write(texts[written])
			m.left = -1
			next, got, openErr := OpenSlots(m)
			complete := died >= len(texts[written])+28 // what follows is reserved
			if written == 1 {
				complete = err == nil // the file ends in its header
			}
			want := texts[written-1]
			if complete {
				want = texts[written]
			}
			if openErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("after %d bytes of write %d: %q, %v; want %q", died, written, got, openErr, want)
			}
			if err := next.Write([]byte("the successor's")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := OpenSlots(m); err != nil || string(got) != "the successor's" {
				t.Fatalf("after the successor: %q, %v", got, err)
			}
			if err == nil {
				break
			}
		}
	}
}

// The pages of a write may have reached memory in any order.
func TestASlotOfWhichAnyByteIsWrongIsNotRead(t *testing.T) {
	for range 2000 {
		m := &memory{pages: map[int64]byte{}, left: -1}
		s := &Slots{file: m}
		s.Write([]byte("kept"))
		s.Write([]byte("this one is damaged"))
		at := rand.Int64N(slotHeader + int64(len("this one is damaged")))
		m.pages[at] ^= 1 << rand.IntN(8) // the second write is in slot 0
		_, got, err := OpenSlots(m)
		if at >= 28 && at < slotHeader { // reserved
			continue
		}
		if err != nil || string(got) != "kept" {
			t.Fatalf("byte %d: %q, %v", at, got, err)
		}
	}
}

func TestEmptySlotsHaveNoRecord(t *testing.T) {
	_, f, err := NewSlots()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, text, err := OpenSlots(f)
	if !errors.Is(err, ErrNoRecord) || text != nil {
		t.Fatalf("%q, %v", text, err)
	}
	if err := s.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := OpenSlots(f); err != nil || string(text) != "one" {
		t.Errorf("%q, %v", text, err)
	}
	if err := s.Write(make([]byte, maxRecord+1)); err == nil {
		t.Error("a record that does not fit was written")
	}
	if _, text, err := OpenSlots(f); err != nil || string(text) != "one" {
		t.Errorf("%q, %v", text, err)
	}
}

// writerVariable makes this binary a process that writes records without an end.
const writerVariable = "HANDOFF_TEST_WRITER"

func TestMain(m *testing.M) {
	if os.Getenv(writerVariable) != "" {
		writeForEver(os.NewFile(3, "record"))
	}
	os.Exit(m.Run())
}

// writeForEver writes texts that prove themselves: a number, as often as the number says.
func writeForEver(f *os.File) {
	s, text, err := OpenSlots(f)
	number := uint64(0)
	if err == nil {
		number = binary.LittleEndian.Uint64(text)
	}
	for {
		number++
		if err := s.Write(provable(number)); err != nil {
			os.Exit(1)
		}
		if number%64 == 0 {
			os.Stdout.WriteString(strconv.FormatUint(number, 10) + "\n")
		}
	}
}

// provable is a text of which every part says what the whole is.
func provable(number uint64) []byte {
	return slices.Repeat(binary.LittleEndian.AppendUint64(nil, number), 1+int(number*7919%9000))
}

// A writer that is killed at any moment leaves a whole record, which is not older than what it has
// said to be written.
func TestAKilledWriterLeavesAWholeRecord(t *testing.T) {
	_, f, err := NewSlots()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 25 {
		writer := exec.Command("/proc/self/exe")
		writer.Env = append(os.Environ(), writerVariable+"=1")
		writer.ExtraFiles = []*os.File{f}
		said, err := writer.StdoutPipe()
		if err == nil {
			err = writer.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 4096)
		n := 0
		for range 1 + rand.IntN(20) {
			if n, err = said.Read(one); err != nil {
				t.Fatal(err)
			}
		}
		writer.Process.Kill()
		lines := bytes.Fields(one[:n])
		writer.Wait()
		_, text, err := OpenSlots(f)
		if err != nil {
			t.Fatal(err)
		}
		number := binary.LittleEndian.Uint64(text)
		if !bytes.Equal(text, provable(number)) {
			t.Fatalf("the record %d is not whole", number)
		}
		if len(lines) > 1 { // the last one may be cut off
			if least, _ := strconv.ParseUint(string(lines[len(lines)-2]), 10, 64); number < least {
				t.Errorf("record %d, but %d was written", number, least)
			}
		}
	}
}
