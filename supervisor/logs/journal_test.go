package logs

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// standIn takes what the journal would.
type standIn struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	dir, err := os.MkdirTemp("", "j") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	j := &standIn{t: t, path: filepath.Join(dir, "socket")}
	j.listen()
	return j
}

func (j *standIn) listen() {
	j.t.Helper()
	os.Remove(j.path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: j.path})
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { conn.Close() })
	j.conn = conn
}

// entry is the next one, its fields by name.
func (j *standIn) entry() map[string]string {
	j.t.Helper()
	b := make([]byte, 256<<10)
	j.conn.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := j.conn.Read(b)
	if err != nil {
		j.t.Fatal(err)
	}
	fields := map[string]string{}
	for text := string(b[:n]); text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		name, value, single := strings.Cut(line, "=")
		if !single { // the length as 64 bits, little-endian, then the value
			size := int(rest[0]) | int(rest[1])<<8
			value, rest = rest[8:8+size], rest[8+size+1:]
		}
		fields[name], text = value, rest
	}
	return fields
}

func TestJournalEntries(t *testing.T) {
	j := newStandIn(t)
	l := start(t, Options{Journal: j.path})
	say(t, l, 3, Stdout, "GET / 200\n")
	say(t, l, 3, Stderr, strings.Repeat("x", maxLineLength)+"\nTraceback\n")
	l.Note(0, "two\nlines=")
	for _, want := range []map[string]string{
		{"MESSAGE": "GET / 200", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "shop", "TIDEOVER_APP": "shop", "TIDEOVER_GENERATION": "3", "TIDEOVER_STREAM": "stdout"},
		{"MESSAGE": strings.Repeat("x", maxLineLength), "PRIORITY": "5", "TIDEOVER_STREAM": "stderr"},
		{"MESSAGE": "Traceback", "PRIORITY": "5"},
		{"MESSAGE": "two\nlines=", "PRIORITY": "4", "TIDEOVER_APP": "shop", "TIDEOVER_GENERATION": "", "TIDEOVER_STREAM": "tideover"},
	} {
		got := j.entry()
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s is %.80q, want %.80q", name, got[name], value)
			}
		}
	}
	if err := l.Close(); err != nil || l.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, l.Dropped())
	}
}

// A journal that reads nothing blocks no child. The lines that it missed are
// counted, and a line says so.
func TestJournalThatIsStuck(t *testing.T) {
	j := newStandIn(t)
	l := start(t, Options{Journal: j.path, RingBytes: 1 << 20})
	total := flood(t, l, 10<<20)
	l.Settle(t.Context(), 1)
	got, said := 0, 0
	for said == 0 {
		entry := j.entry()
		if strings.Contains(entry["MESSAGE"], "lines dropped: ") {
			said++
		} else if entry["TIDEOVER_STREAM"] == "stdout" {
			got++
		}
	}
	for !strings.HasPrefix(texts(l.Tail(1, 1)), "line ") {
		t.Fatalf("the last line is %q", texts(l.Tail(1, 1)))
	}
	if dropped := int(l.Dropped()); dropped == 0 || got+dropped > total {
		t.Errorf("%d entries and %d dropped of %d", got, dropped, total)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for entry := range j.until("the end") {
			if entry["TIDEOVER_STREAM"] == "stdout" {
				got++
			}
		}
	}()
	l.Note(1, "the end")
	<-read
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What was said of the trouble may itself be among the dropped.
	if dropped := int(l.Dropped()); got+dropped < total || got+dropped > total+2 {
		t.Errorf("%d entries and %d dropped of %d", got, dropped, total)
	}
}

// until yields entries before the one that says this.
func (j *standIn) until(message string) func(func(map[string]string) bool) {
	return func(yield func(map[string]string) bool) {
		for {
			entry := j.entry()
			if entry["MESSAGE"] == message || !yield(entry) {
				return
			}
		}
	}
}

// journald can be started anew, or be missing for a while.
func TestJournalComesBack(t *testing.T) {
	j := newStandIn(t)
	l := start(t, Options{Journal: j.path})
	l.Note(1, "before")
	if got := j.entry()["MESSAGE"]; got != "before" {
		t.Fatalf("got %q", got)
	}
	j.conn.Close()
	os.Remove(j.path)
	l.Note(1, "meanwhile")
	for !strings.Contains(texts(l.Tail(0, 2)), "cannot write to the journal") {
		if t.Context().Err() != nil {
			t.Fatal("nobody was told")
		}
		<-time.After(5 * time.Millisecond)
	}
	j.listen()
	if got := j.entry()["MESSAGE"]; got != "meanwhile" {
		t.Errorf("got %q", got)
	}
	if err := l.Close(); err != nil || l.Dropped() != 0 {
		t.Errorf("%v, %d dropped", err, l.Dropped())
	}
}

func TestAnEntryThatIsTooLongIsDroppedAlone(t *testing.T) {
	j := newStandIn(t)
	to := &journal{path: j.path}
	defer to.close()
	if _, err := to.Write(make([]byte, 16<<20)); err == nil {
		t.Fatal("16 MiB were taken")
	}
	l := start(t, Options{Journal: j.path})
	l.Note(1, "%s", strings.Repeat("x", 16<<20)) // larger than any ring: kept as the only one
	l.Note(1, "after it")
	for entry := range j.until("after it") {
		if len(entry["MESSAGE"]) > maxLineLength {
			t.Errorf("an entry of %d bytes", len(entry["MESSAGE"]))
		}
	}
	if err := l.Close(); err != nil || l.Dropped() != 1 {
		t.Errorf("%v, %d dropped, want 1", err, l.Dropped())
	}
}

func TestConfigureTurnsTheJournalOnAndOff(t *testing.T) {
	j := newStandIn(t)
	l := start(t, Options{})
	l.Note(1, "off")
	l.Configure(Options{Journal: j.path})
	l.Note(1, "on")
	if got := j.entry()["MESSAGE"]; got != "on" {
		t.Errorf("got %q", got)
	}
	l.Configure(Options{})
	l.Note(1, "off again")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	j.conn.SetReadDeadline(time.Now())
	if n, _ := j.conn.Read(make([]byte, 1)); n > 0 {
		t.Error("it went on")
	}
}
