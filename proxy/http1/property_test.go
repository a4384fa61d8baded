package http1

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tideover/scripts/httpgen"
)

// checkRequest holds I1 to I5 for any octets: it is what tests and fuzzing call.
func checkRequest(t *testing.T, in string, p *Policy, random *rand.Rand) {
	t.Helper()
	agree(t, in, p)
	got := runRequest(p, in)
	if pieces := randomPieces(in, random); runRequest(p, pieces...) != got {
		t.Fatalf("I3: %.600q is not the same in %.600q", in, pieces)
	}
	checkBody(t, in, p, got)
	if got.verdict != "" {
		return
	}
	checkNoEarlyOctets(t, in, p, random)
	checkCanonical(t, got, p)
	checkNetHTTP(t, got)
}

// checkBody holds the decoded body against the oracle.
func checkBody(t *testing.T, in string, p *Policy, got result) {
	t.Helper()
	head := oracleRequest(in, p)
	if head.broken != nil || !head.complete || len(head.all("transfer-encoding")) == 0 {
		return
	}
	wire := in[head.length:]
	verdict, content, rest := oracleChunked(wire, p.Limits, false)
	switch {
	case verdict == oracleMore && got.verdict != "more" && got.verdict != "" && !mayBecomeLegal(wire, p.Limits, false):
		return
	case verdict == oracleRefused && got.verdict != "more" && got.verdict != "":
		return
	case verdict == oracleMore && got.verdict == "more" && content == got.content:
		return
	case verdict == oracleDone && got.verdict == "" && content == got.content && rest == got.rest:
		return
	}
	t.Fatalf("body %.600q: %s %.300q, the oracle says %s %.300q", wire, got.verdict, got.content, verdict, content)
}

// checkNoEarlyOctets holds I4: a part of a head never yields anything.
func checkNoEarlyOctets(t *testing.T, in string, p *Policy, random *rand.Rand) {
	t.Helper()
	n := oracleRequest(in, p).length
	for range 4 {
		var r Request
		if got, err := r.Parse([]byte(in[:random.IntN(n)]), p); got != 0 || err != nil {
			t.Fatalf("I4: %d %v out of part of %.600q", got, err, in[:n])
		}
	}
}

// checkCanonical holds I1 and I2: what is written is one strict message, and stays as it is when it is read and
// written again.
func checkCanonical(t *testing.T, got result, p *Policy) {
	t.Helper()
	again := *p
	again.Limits = Limits{Head: 1 << 20, Target: 1 << 16, Line: 1 << 16, Fields: 1000} // what was added is not on the client's account
	m := oracleRequest(got.out, &again)
	if m.broken != nil || !m.complete {
		t.Fatalf("I1: the oracle says %q of what is written: %.900q", m.broken, got.out)
	}
	second := runRequest(&again, got.out)
	if second.verdict != "" || second.rest != "" || second.content != got.content {
		t.Fatalf("I1: %q, %d octets left of what is written: %.900q", second.verdict, len(second.rest), got.out)
	}
	if second.out != got.out {
		t.Fatalf("I2: written again\n %.900q\nwas %.900q", second.out, got.out)
	}
	if bytes.Contains([]byte(strings.ReplaceAll(got.out[:m.length], "\r\n", "")), []byte("\n")) {
		t.Fatalf("I1: LF in %.900q", got.out)
	}
}

// checkNetHTTP holds I5: net/http sees in what is written what the oracle sees.
func checkNetHTTP(t *testing.T, got result) {
	t.Helper()
	m := oracleRequest(got.out, &Policy{Limits: Limits{Head: 1 << 20, Target: 1 << 16, Line: 1 << 16, Fields: 1000}, Trusted: true, PassUnderscores: true})
	if _, err := url.ParseRequestURI(m.target); err != nil && m.target != "*" {
		return // octets that net/http cannot decode; we do not decode (R5)
	}
	if strings.HasPrefix(m.target, "//") {
		return // net/http reads an authority here
	}
	stream := bufio.NewReader(strings.NewReader(got.out))
	r, err := http.ReadRequest(stream)
	if err != nil {
		if strings.Contains(err.Error(), "malformed MIME header") && strings.Contains(got.out, "\xFF") {
			return
		}
		t.Fatalf("I5: net/http: %v: %.900q", err, got.out)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != got.content || stream.Buffered() > 0 {
		t.Fatalf("I5: net/http reads the body %.300q (%v), and %d octets are left of %.900q", body, err, stream.Buffered(), got.out)
	}
	if r.Method != m.method || r.RequestURI != m.target || r.Host != m.all("host")[0] || r.Proto != "HTTP/1.1" {
		t.Fatalf("I5: net/http reads %s %s %s %s: %.900q", r.Method, r.RequestURI, r.Host, r.Proto, got.out)
	}
	sameFields(t, r.Header, m.fields, got.out)
}

// sameFields holds a header of net/http against field lines: same names, same values, same order in a name.
func sameFields(t *testing.T, h http.Header, fields []plainField, out string) {
	t.Helper()
	want := http.Header{}
	for _, f := range fields {
		name := textproto.CanonicalMIMEHeaderKey(f.name)
		if name != "Host" && name != "Content-Length" && name != "Transfer-Encoding" {
			want[name] = append(want[name], f.value)
		}
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Pragma", "Cache-Control"} {
		if _, ours := want[name]; !ours {
			h.Del(name) // net/http keeps the first, makes the last of Pragma
		}
	}
	if len(h) != len(want) {
		t.Fatalf("I5: net/http sees %d names, want %d: %.900q", len(h), len(want), out)
	}
	for name, values := range want {
		if !slices.Equal(h[name], values) {
			t.Fatalf("I5: net/http sees %s %.300q, want %.300q: %.900q", name, h[name], values, out)
		}
	}
}

// Every rule's cases under all invariants.
func TestInvariantsOnEveryRule(t *testing.T) {
	random := newRandom(1)
	for _, c := range allRules() {
		for _, p := range policies() {
			checkRequest(t, c.in, p, random)
		}
	}
}

// messages generates requests and responses that are legal and within the limits
// of trustedPolicy and untrustedPolicy.
func messages(seed uint64) httpgen.Source {
	return httpgen.Source{Seed: seed, Host: "www.example.com", Wire: true, Full: true, Line: 8190, Head: 30 << 10, Fields: 94, Body: 300}
}

// Nothing legal is refused, however odd.
func TestLegalRequestsPass(t *testing.T) {
	source := messages(1)
	for i := range 10_000 {
		r := source.Request(i)
		for _, p := range []*Policy{&trustedPolicy, &untrustedPolicy} {
			if got := runRequest(p, r.Text()); got.verdict != "" || got.content != string(r.Content) || got.rest != "" {
				t.Fatalf("%s, %s, content %.300q, want %.300q: %.2000q", r.Shape, got.verdict, got.content, r.Content, r.Text())
			}
		}
	}
}

func TestInvariantsOnLegalRequests(t *testing.T) {
	source, random := messages(2), newRandom(2)
	number := 0
	for range 200 {
		for _, p := range policies() {
			checkRequest(t, source.Request(number).Text(), p, random)
			number++
		}
	}
}

func TestInvariantsOnSpoiledRequests(t *testing.T) {
	source, random := messages(3), newRandom(3)
	refused := 0
	for i := range 600 {
		in := httpgen.Corrupt(random, source.Request(i).Text())
		for _, p := range policies() {
			checkRequest(t, in, p, random)
		}
		if runRequest(&trustedPolicy, in).verdict != "" {
			refused++
		}
	}
	if refused < 200 {
		t.Errorf("only %d of 600 spoiled requests are refused: the generator has lost its teeth", refused)
	}
}
