//go:build e2e

package http1

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/scripts/httpgen"
)

// gunicorn's own parsers read what is forwarded. scripts/setup installs them, and scripts/e2e runs
// this test.

var full = flag.Bool("full", false, "at full size")

// TestGunicornReadsTheSame: gunicorn reads exactly one message, and the same one, from what is
// forwarded. Requests that are refused here and that gunicorn would accept are counted by rule.
func TestGunicornReadsTheSame(t *testing.T) {
	requests := 2000
	if *full {
		requests = 200_000
	}
	for _, version := range []string{"20.1.0", "23.0.0", "latest"} {
		t.Run(version, func(t *testing.T) {
			d := differential{T: t, gunicorn: startGunicorn(t, version), refused: map[string]int{}, theirs: map[string]int{}}
			source, random := messages(uint64(len(version))), newRandom(uint64(len(version)))
			for i := range requests {
				in := source.Request(i).Text()
				if i%2 == 1 {
					in = httpgen.Corrupt(random, in)
				}
				d.try(in, policies()[i%2])
			}
			t.Logf("numbers: version=%s requests=%d %s", version, requests, &d)
			if d.dirty > 0 {
				t.Errorf("%d of %d forwarded requests are dirty", d.dirty, d.forwarded)
			}
			if d.same < requests/3 {
				t.Errorf("only %d of %d requests came as far as gunicorn: the generator has become too weak", d.same, requests)
			}
		})
	}
}

// differential compares requests, one after the other, with what gunicorn reads.
type differential struct {
	*testing.T
	gunicorn   *gunicorn
	forwarded  int            // requests that are valid here
	same       int            // of these: gunicorn reads the same one, and no byte is left
	upperCased int            // of these: gunicorn 20.1.0 reads GEt as GET
	theirs     map[string]int // of these: gunicorn refuses, by reason
	dirty      int            // of these: gunicorn reads another one, or more than one
	refused    map[string]int // requests that gunicorn accepts and that are refused here, by rule, or "more": incomplete here
}

// try shows gunicorn a valid request as it is forwarded, and a refused one as it was received.
func (d *differential) try(in string, p *Policy) {
	d.Helper()
	got := runRequest(p, in)
	switch {
	case got.verdict == "":
		d.forward(got)
	case d.gunicorn.read(d.T, in).Error == "":
		d.refused[got.verdict]++
	}
}

// mayRefuse are reasons for which gunicorn refuses a valid request: it accepts no lower-case
// method, its limits count the fields that the relay adds, and it refuses two scheme fields that
// differ. Newer versions also refuse a second Content-Type, and octets above 0x7F in the target.
var mayRefuse = []string{"InvalidRequestMethod", "LimitRequestLine", "LimitRequestHeaders", "InvalidSchemeHeaders"}

// forward shows gunicorn what is written for the app.
func (d *differential) forward(got outcome) {
	d.Helper()
	d.forwarded++
	read := d.gunicorn.read(d.T, got.out)
	sent := oracleRequest(got.out, &Policy{Limits: Limits{Head: 1 << 20, StartLine: 1 << 16, Line: 1 << 16, Fields: 1000}, Trusted: true, PassUnderscores: true})
	if d.gunicorn.version == "20.1.0" && read.Method != sent.method && read.Method == strings.ToUpper(sent.method) {
		d.upperCased++ // it takes a method of which the first three letters are capitals, and makes all of them capitals
		read.Method = sent.method
	}
	switch fault := read.differs(sent, got.content); {
	case slices.Contains(mayRefuse, read.Error), read.Error == "InvalidHeader" && len(sent.all("content-type")) > 1,
		read.Error == "InvalidRequestLine" && !isPlainASCII(sent.target):
		d.theirs[read.Error]++
	case fault != "":
		d.dirty++
		d.Errorf("%s: %.900q", fault, got.out)
	default:
		d.same++
	}
}

func (d *differential) String() string {
	count := func(m map[string]int) string {
		var words []string
		for _, key := range slices.Sorted(maps.Keys(m)) {
			words = append(words, fmt.Sprintf("%s:%d", strings.ReplaceAll(key, " ", "/"), m[key]))
		}
		return "{" + strings.Join(words, " ") + "}"
	}
	return fmt.Sprintf("forwarded=%d same=%d dirty=%d upper_cased=%d gunicorn_refuses=%s only_we_refuse=%s", d.forwarded, d.same, d.dirty, d.upperCased, count(d.theirs), count(d.refused))
}

// reading is what gunicorn read of one request.
type reading struct {
	Error   string // its exception; then nothing else is set
	Method  string
	Target  string
	Version string      // "1.1"
	Fields  [][2]string // names in capitals, values unchanged
	Body    string
	Left    int // octets after the message
}

// differs describes the difference between what gunicorn read and what was sent. It returns "" if
// there is none.
func (r reading) differs(sent *oracleHead, content string) string {
	switch {
	case r.Error != "":
		return "gunicorn refuses it: " + r.Error
	case r.Left > 0:
		return fmt.Sprintf("%d octets are left over", r.Left)
	case r.Method != sent.method || latin1(r.Target) != sent.target || r.Version != "1.1":
		return fmt.Sprintf("gunicorn reads %s %s %s", r.Method, r.Target, r.Version)
	case latin1(r.Body) != content:
		return fmt.Sprintf("gunicorn reads the body %.300q, want %.300q", latin1(r.Body), content)
	}
	return r.differsInFields(sent.fields)
}

// blanks are the octets that gunicorn 20 trims around a value.
const blanks = " \t\x85\xA0\x1c\x1d\x1e\x1f"

// differsInFields compares field lines in their order. Newer versions of gunicorn drop names with
// an underscore.
func (r reading) differsInFields(sent []oracleField) string {
	read := r.Fields
	for _, f := range sent {
		name := strings.ToUpper(f.name)
		if len(read) == 0 || read[0][0] != name {
			if strings.Contains(name, "_") {
				continue
			}
			return fmt.Sprintf("gunicorn does not read %s", f.name)
		}
		if value := latin1(read[0][1]); value != f.value && value != trimOctets(f.value) {
			return fmt.Sprintf("gunicorn reads %s: %.300q", f.name, value)
		}
		read = read[1:]
	}
	if len(read) > 0 {
		return fmt.Sprintf("gunicorn reads %s, which was not sent", read[0][0])
	}
	return ""
}

func trimOctets(v string) string {
	for v != "" && strings.IndexByte(blanks, v[0]) >= 0 {
		v = v[1:]
	}
	for v != "" && strings.IndexByte(blanks, v[len(v)-1]) >= 0 {
		v = v[:len(v)-1]
	}
	return v
}

// latin1 returns the octets that the code points of s stand for.
func latin1(s string) string {
	octets := make([]byte, 0, len(s))
	for _, r := range s {
		octets = append(octets, byte(r))
	}
	return string(octets)
}

// gunicorn is a process that reads requests with the parser of one version.
type gunicorn struct {
	version string
	cmd     *exec.Cmd
	in      io.WriteCloser
	pipe    *os.File
	out     *bufio.Reader
}

func startGunicorn(t *testing.T, version string) *gunicorn {
	t.Helper()
	g := &gunicorn{version: version}
	var stderr strings.Builder
	g.start(t, &stderr)
	t.Cleanup(func() {
		g.in.Close()
		if err := g.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
	return g
}

func (g *gunicorn) start(t *testing.T, stderr io.Writer) {
	t.Helper()
	python, err := filepath.Abs("../../.local/venvs/gunicorn-" + g.version + "/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	g.cmd = exec.Command(python, "testdata/gunicorn_reads.py")
	g.cmd.Stderr = stderr
	var write *os.File
	g.pipe, write, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	g.cmd.Stdout = write
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatalf("%v; scripts/setup installs it", err)
	}
	g.out = bufio.NewReaderSize(g.pipe, 1<<20)
}

// read returns what gunicorn reads of one request. Older versions read some requests without an
// end: their error is Timeout.
func (g *gunicorn) read(t *testing.T, request string) (r reading) {
	t.Helper()
	message := binary.BigEndian.AppendUint32(nil, uint32(len(request)))
	if _, err := g.in.Write(append(message, request...)); err != nil {
		t.Fatal(err)
	}
	g.pipe.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := g.out.ReadBytes('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.cmd.Process.Kill()
		g.cmd.Wait()
		g.pipe.Close()
		g.start(t, g.cmd.Stderr)
		t.Logf("gunicorn %s does not come to an end with %q", g.version, request)
		return reading{Error: "Timeout"}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("%v: %.300q", err, line)
	}
	return r
}
