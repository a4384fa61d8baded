package http1

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tideover/scripts/httpgen"
)

// checkRequest checks what must hold for every input, valid or not. Tests and fuzz targets call it.
//   - canonical: what is written is exactly one valid message, with no byte left;
//   - fixpoint: parsing it and writing it again gives the same bytes;
//   - segmentation: the result does not depend on how the bytes were divided into reads;
//   - early bytes: a part of a valid head gives neither a length nor an error;
//   - one address: for an ASGI server X-Forwarded-For is one address, and nothing else changes;
//   - agreement: the oracle and net/http read the same message (gunicorn: gunicorn_test.go).
func checkRequest(t *testing.T, in string, p *Policy, random *rand.Rand) {
	t.Helper()
	agree(t, in, p)
	got := runRequest(p, in)
	if pieces := randomPieces(in, random); runRequest(p, pieces...) != got {
		t.Fatalf("segmentation: %.600q is not the same in %.600q", in, pieces)
	}
	checkBody(t, in, p, got)
	if got.verdict != "" {
		return
	}
	checkNoEarlyOctets(t, in, p, random)
	checkCanonical(t, got, p)
	checkOneForwardedFor(t, in, p)
	checkNetHTTP(t, got)
}

// checkOneForwardedFor checks what an ASGI server gets for a valid request.
func checkOneForwardedFor(t *testing.T, in string, p *Policy) {
	t.Helper()
	var r Request
	r.Parse([]byte(in), p)
	o := testUpstreamOptions
	o.Body = r.Body
	all, _ := cutForwardedFor(string(r.AppendUpstream(nil, &o)))
	o.OneForwardedFor, o.Trusted = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	out := string(r.AppendUpstream(nil, &o))
	one, values := cutForwardedFor(out)
	if !slices.Equal(all, one) || len(values) != 1 || values[0] == "" || strings.Contains(values[0], ",") || !p.Trusted && values[0] != o.Peer.String() {
		t.Fatalf("one address: %q in %.900q of %.900q", values, out, in)
	}
}

// cutForwardedFor takes the values of X-Forwarded-For out of the lines of a head.
func cutForwardedFor(head string) (others, values []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, _ := strings.Cut(line, ": "); strings.EqualFold(name, "X-Forwarded-For") {
			values = append(values, value)
		} else {
			others = append(others, line)
		}
	}
	return others, values
}

// checkBody compares the decoded body with the oracle.
func checkBody(t *testing.T, in string, p *Policy, got outcome) {
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

// checkNoEarlyOctets parses parts of a valid head: they must give nothing.
func checkNoEarlyOctets(t *testing.T, in string, p *Policy, random *rand.Rand) {
	t.Helper()
	n := oracleRequest(in, p).length
	for range 4 {
		var r Request
		if got, err := r.Parse([]byte(in[:random.IntN(n)]), p); got != 0 || err != nil {
			t.Fatalf("early bytes: %d %v out of part of %.600q", got, err, in[:n])
		}
	}
}

// checkCanonical checks that what is written is one valid message, and a fixpoint.
func checkCanonical(t *testing.T, got outcome, p *Policy) {
	t.Helper()
	again := *p
	again.Limits = Limits{Head: 1 << 20, StartLine: 1 << 16, Line: 1 << 16, Fields: 1000} // the relay may add fields
	m := oracleRequest(got.out, &again)
	if m.broken != nil || !m.complete {
		t.Fatalf("canonical: the oracle says %q of what is written: %.900q", m.broken, got.out)
	}
	second := runRequest(&again, got.out)
	if second.verdict != "" || second.rest != "" || second.content != got.content {
		t.Fatalf("canonical: %q, %d octets left of what is written: %.900q", second.verdict, len(second.rest), got.out)
	}
	if second.out != got.out {
		t.Fatalf("fixpoint: written again\n %.900q\nwas %.900q", second.out, got.out)
	}
	if bytes.Contains([]byte(strings.ReplaceAll(got.out[:m.length], "\r\n", "")), []byte("\n")) {
		t.Fatalf("canonical: LF in %.900q", got.out)
	}
}

// checkNetHTTP checks that net/http reads the message that the oracle reads.
func checkNetHTTP(t *testing.T, got outcome) {
	t.Helper()
	m := oracleRequest(got.out, &Policy{Limits: Limits{Head: 1 << 20, StartLine: 1 << 16, Line: 1 << 16, Fields: 1000}, Trusted: true, PassUnderscores: true})
	if _, err := url.ParseRequestURI(m.target); err != nil && m.target != "*" {
		return // net/http decodes the target, the relay does not (RuleTargetFragment)
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
		t.Fatalf("agreement: net/http: %v: %.900q", err, got.out)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != got.content || stream.Buffered() > 0 {
		t.Fatalf("agreement: net/http reads the body %.300q (%v), and %d octets are left of %.900q", body, err, stream.Buffered(), got.out)
	}
	if r.Method != m.method || r.RequestURI != m.target || r.Host != m.all("host")[0] || r.Proto != "HTTP/1.1" {
		t.Fatalf("agreement: net/http reads %s %s %s %s: %.900q", r.Method, r.RequestURI, r.Host, r.Proto, got.out)
	}
	sameFields(t, r.Header, m.fields, got.out)
}

// sameFields compares a header of net/http with field lines: names, values, and the order of values
// of one name.
func sameFields(t *testing.T, h http.Header, fields []oracleField, out string) {
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
			h.Del(name) // net/http adds or keeps these itself
		}
	}
	if len(h) != len(want) {
		t.Fatalf("agreement: net/http sees %d names, want %d: %.900q", len(h), len(want), out)
	}
	for name, values := range want {
		if !slices.Equal(h[name], values) {
			t.Fatalf("agreement: net/http sees %s %.300q, want %.300q: %.900q", name, h[name], values, out)
		}
	}
}

func TestInvariantsOnEveryRule(t *testing.T) {
	random := newRandom(1)
	for _, c := range allRules() {
		for _, p := range policies() {
			checkRequest(t, c.in, p, random)
		}
	}
}

// messages generates valid requests and responses within the limits of trustedPolicy and
// untrustedPolicy.
func messages(seed uint64) httpgen.Source {
	return httpgen.Source{Seed: seed, Host: "www.example.com", Wire: true, Full: true, Line: 8190, Head: 30 << 10, Fields: 94, Body: 300}
}

// No valid request is refused, even an unusual one.
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

func TestInvariantsOnCorruptRequests(t *testing.T) {
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
		t.Errorf("only %d of 600 corrupt requests are refused: the generator has become too weak", refused)
	}
}
