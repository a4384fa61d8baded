package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// slotSize is the distance of the two slots. The file is sparse: it takes memory for what was
	// written only.
	slotSize = 128 << 20
	// slotHeader is the size of what a slot begins with: magic, sequence, length and checksum.
	slotHeader = 32
	// maxRecord is how many bytes a record has at most.
	maxRecord = slotSize - slotHeader
)

// slotMagic begins each slot that was written.
const slotMagic = 0x7265636f72642d31 // "record-1"

var checksums = crc32.MakeTable(crc32.Castagnoli)

// ErrNoRecord says that nothing was ever written to the slots.
var ErrNoRecord = errors.New("there is no record")

// Slots keep the last text that was written, in a file that outlives the process. There are two
// slots. A write goes to the one that does not have the last text, and its header is written last;
// so a process that dies at any point of a write leaves either the text before or the new one. A
// header has a sequence number and a checksum of everything.
//
// Slots have one writer, and its methods are not for several goroutines.
type Slots struct {
	file     File
	sequence uint64 // of the last write; it is in slot sequence%2
}

// File is where Slots are: what they need of an os.File.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// NewSlots makes empty slots in a memfd, for a successor to inherit.
func NewSlots() (*Slots, *os.File, error) {
	fd, err := unix.MemfdCreate("tideover record", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "record")
	return &Slots{file: f}, f, nil
}

// OpenSlots reads the last text that a predecessor has written to f, and goes on behind it. The file
// stays the caller's, and must be open while the slots are written to. ErrNoRecord: none was written.
func OpenSlots(f File) (*Slots, []byte, error) {
	s := &Slots{file: f}
	var newest []byte
	var failed error
	for i := range uint64(2) {
		sequence, text, err := readSlot(f, i)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if newest == nil || sequence > s.sequence {
			s.sequence, newest = sequence, text
		}
	}
	if newest == nil {
		return s, nil, failed
	}
	return s, newest, nil
}

// Write makes text the last one. After an error it may be the last one or not.
func (s *Slots) Write(text []byte) error {
	if len(text) > maxRecord {
		return fmt.Errorf("a record of %d bytes is too large", len(text))
	}
	next := s.sequence + 1
	at := int64(next%2) * slotSize
	if _, err := s.file.WriteAt(text, at+slotHeader); err != nil {
		return fmt.Errorf("cannot write the record: %w", err)
	}
	if _, err := s.file.WriteAt(header(next, text), at); err != nil {
		return fmt.Errorf("cannot write the record: %w", err)
	}
	s.sequence = next
	return nil
}

// attemptsAt is where the number of restorations stands that have begun since one was complete.
const attemptsAt = 2 * slotSize

// BeginRestoration is called before what the record names is touched. It returns how many restorations in a
// row have begun and were not completed.
func (s *Slots) BeginRestoration() (failures uint64, err error) {
	b := make([]byte, 8)
	if _, err := s.file.ReadAt(b, attemptsAt); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("cannot read the record: %w", err)
	}
	failures = binary.LittleEndian.Uint64(b)
	return failures, s.writeAttempts(failures + 1)
}

// EndRestoration says that the restoration is complete.
func (s *Slots) EndRestoration() error { return s.writeAttempts(0) }

func (s *Slots) writeAttempts(n uint64) error {
	if _, err := s.file.WriteAt(binary.LittleEndian.AppendUint64(nil, n), attemptsAt); err != nil {
		return fmt.Errorf("cannot write the record: %w", err)
	}
	return nil
}

// header is what stands before text in a slot.
func header(sequence uint64, text []byte) []byte {
	h := make([]byte, slotHeader)
	binary.LittleEndian.PutUint64(h, slotMagic)
	binary.LittleEndian.PutUint64(h[8:], sequence)
	binary.LittleEndian.PutUint64(h[16:], uint64(len(text)))
	binary.LittleEndian.PutUint32(h[24:], checksum(h, text))
	return h
}

// checksum is that of a header up to its checksum, and of its text.
func checksum(h, text []byte) uint32 {
	return crc32.Update(crc32.Checksum(h[:24], checksums), checksums, text)
}

// readSlot reads one slot. Nothing is believed before the checksum holds.
func readSlot(f File, slot uint64) (sequence uint64, text []byte, err error) {
	at := int64(slot) * slotSize
	h := make([]byte, slotHeader)
	switch n, err := f.ReadAt(h, at); {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, nil, fmt.Errorf("cannot read the record: %w", err)
	case n < slotHeader || binary.LittleEndian.Uint64(h) != slotMagic:
		return 0, nil, ErrNoRecord
	}
	sequence, length := binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint64(h[16:])
	if length > maxRecord || sequence%2 != slot {
		return 0, nil, errTorn
	}
	text = make([]byte, length)
	if n, err := f.ReadAt(text, at+slotHeader); n < len(text) {
		return 0, nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	if checksum(h, text) != binary.LittleEndian.Uint32(h[24:]) {
		return 0, nil, errTorn
	}
	return sequence, text, nil
}

// errTorn is the state of a slot whose writer has died during a write.
var errTorn = errors.New("the record was not written whole")
