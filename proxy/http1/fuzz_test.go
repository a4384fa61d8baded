package http1

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// The fuzz targets run the same checks as the property tests on octets that the fuzzer makes up. What it found
// interesting is kept in testdata/fuzz.

func FuzzRequestHead(f *testing.F) {
	for i, c := range allRules() {
		if len(c.in) < 2000 && c.exchange == nil {
			f.Add([]byte(c.in), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, choice uint8) {
		p := policies()[int(choice)%len(policies())]
		checkRequest(t, string(in), p, newRandom(uint64(choice)))
	})
}

func FuzzRequestBody(f *testing.F) {
	for i, c := range chunkRules() {
		if _, body, _ := strings.Cut(c.in, "\r\n\r\n"); len(body) < 2000 {
			f.Add([]byte(body), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, choice uint8) {
		p := policies()[int(choice)%len(policies())]
		checkRequest(t, post(string(in)), p, newRandom(uint64(choice)))
	})
}

func FuzzTrailers(f *testing.F) {
	for _, c := range chunkRules() {
		if _, trailers, found := strings.Cut(c.in, "\r\n0\r\n"); found && len(trailers) < 2000 {
			f.Add([]byte(trailers), uint8(0))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, choice uint8) {
		random := newRandom(uint64(choice))
		checkRequest(t, post("0\r\n"+string(in)), policies()[int(choice)%len(policies())], random)
		checkResponseBody(t, "0\r\n"+string(in), random)
	})
}

func FuzzResponseHead(f *testing.F) {
	for i, c := range allRules() {
		if len(c.in) < 2000 && c.exchange != nil {
			f.Add([]byte(c.in), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, choice uint8) {
		checkResponse(t, string(in), exchanges()[int(choice)%len(exchanges())], newRandom(uint64(choice)))
	})
}

func FuzzResponseBody(f *testing.F) {
	for i, c := range chunkRules() {
		if _, body, _ := strings.Cut(c.in, "\r\n\r\n"); len(body) < 2000 {
			f.Add([]byte(body), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, choice uint8) {
		checkResponseBody(t, string(in), newRandom(uint64(choice)))
	})
}

// checkResponseBody holds a child's chunked body against the oracle.
func checkResponseBody(t *testing.T, body string, random *rand.Rand) {
	t.Helper()
	in := ok("Transfer-Encoding: chunked") + body
	got := runResponse(toKept, in)
	if pieces := randomPieces(in, random); runResponse(toKept, pieces...) != got {
		t.Fatalf("I3: %.600q is not the same in %.600q", in, pieces)
	}
	verdict, content, rest := oracleChunked(body, ResponseLimits(), true)
	refused := strings.HasPrefix(got.verdict, "502 ")
	switch {
	case refused && (verdict == oracleRefused || verdict == oracleMore && !mayBecomeLegal(body, ResponseLimits(), true)):
	case got.verdict == "more" && verdict == oracleMore && got.content == content:
	case got.verdict == "" && verdict == oracleDone && got.content == content && got.rest == rest:
		checkAnswer(t, got, toKept)
	default:
		t.Fatalf("body %.600q: %s %.300q, the oracle says %s %.300q", body, got.verdict, got.content, verdict, content)
	}
}
