package http1

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"tideover/scripts/httpgen"
)

// responseCases returns the contexts in which responses are tested.
func responseCases() []responseCase {
	held := ResponseOptions{Minor: 1, KeepAlive: true, Held: true, Hold: 1234 * time.Millisecond}
	return []responseCase{keptClient, headRequest, upgradeRequest, http10Client, keptHTTP10Client, closingUpstream, {client: held, eof: true}, {client: ResponseOptions{Minor: 1}, eof: true}}
}

// checkResponse checks what must hold for every response, valid or not.
func checkResponse(t *testing.T, in string, x responseCase, random *rand.Rand) {
	t.Helper()
	agreeResponse(t, in, x)
	got := runResponse(x, in)
	if pieces := randomPieces(in, random); runResponse(x, pieces...) != got {
		t.Fatalf("segmentation: %.600q is not the same in %.600q", in, pieces)
	}
	if got.verdict == "" {
		checkAnswer(t, got, x)
	}
}

// agreeResponse compares the first head with the oracle.
func agreeResponse(t *testing.T, in string, x responseCase) {
	t.Helper()
	limits := ResponseLimits()
	want := oracleResponse(in, x.asked, limits)
	var r Response
	r.Reset(x.asked)
	n, err := r.Parse([]byte(in), &limits)
	switch {
	case err != nil:
		if want.broken == nil || err.Status != 502 {
			t.Fatalf("refused with %s, the oracle says %q\n%.600q", verdictOf(err), want.broken, in)
		}
		return
	case want.broken != nil:
		t.Fatalf("not refused (%d octets), the oracle says %q\n%.600q", n, want.broken, in)
	case !want.complete:
		if n != 0 {
			t.Fatalf("%d octets of a head that is not complete\n%.600q", n, in)
		}
		return
	case n != want.length:
		t.Fatalf("head of %d octets, want %d\n%.600q", n, want.length, in)
	}
	out := r.AppendInterim(nil)
	if !r.Interim() {
		out, _ = r.AppendClient(nil, &x.client)
	}
	if string(out) != want.answered(&x.client) || r.Body.Framing != want.framing {
		t.Fatalf("written %.900q (%d)\nwant    %.900q (%d)\nof %.900q", out, r.Body.Framing, want.answered(&x.client), want.framing, in)
	}
}

// checkAnswer reads what the client gets with net/http: one final response, no byte after it, the
// decoded body.
func checkAnswer(t *testing.T, got outcome, x responseCase) {
	t.Helper()
	stream := bufio.NewReader(strings.NewReader(got.out))
	request := &http.Request{Method: "GET"}
	if x.asked.Head {
		request.Method = "HEAD"
	}
	var r *http.Response
	for {
		var err error
		if r, err = http.ReadResponse(stream, request); err != nil {
			t.Fatalf("net/http: %v: %.900q", err, got.out)
		}
		if r.StatusCode >= 200 || r.StatusCode == 101 {
			break
		}
	}
	if r.StatusCode == 101 {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != got.content || stream.Buffered() > 0 {
		t.Fatalf("net/http reads the body %.300q (%v), want %.300q; %d octets are left of %.900q", body, err, got.content, stream.Buffered(), got.out)
	}
	if x.client.Minor == 1 && r.Close == x.client.KeepAlive {
		t.Fatalf("Connection: close is %v: %.900q", r.Close, got.out)
	}
}

func TestInvariantsOnResponses(t *testing.T) {
	source, random := messages(4), newRandom(4)
	for i := range 150 {
		in := source.Response(i)
		for _, x := range responseCases() {
			checkResponse(t, in, x, random)
			checkResponse(t, httpgen.Corrupt(random, in), x, random)
		}
	}
	for _, c := range allRules() {
		for _, x := range responseCases() {
			checkResponse(t, c.in, x, random)
		}
	}
}

// Every refusal is one complete response with its status and Connection: close.
func TestRefusalCloses(t *testing.T) {
	for _, c := range allRules() {
		var r Request
		if c.response != nil {
			continue
		}
		policy := c.policy
		if policy == nil {
			policy = &trustedPolicy
		}
		_, err := r.Parse([]byte(c.in), policy)
		if err == nil {
			continue
		}
		if _, again := r.Parse([]byte(get()), policy); again != err {
			t.Fatalf("%s: the verdict does not stay", c.name)
		}
		stream := bufio.NewReader(strings.NewReader(string(AppendError(nil, err, &r))))
		response, readErr := http.ReadResponse(stream, &http.Request{Method: string(r.MethodName())})
		if readErr != nil {
			t.Fatal(readErr)
		}
		body, readErr := io.ReadAll(response.Body)
		if readErr != nil || !response.Close || response.StatusCode != err.Status || stream.Buffered() != 0 {
			t.Fatalf("%s: %v, %d, close %v, %d octets left", c.name, readErr, response.StatusCode, response.Close, stream.Buffered())
		}
		if !strings.Contains(string(body), err.Cause) && r.Method != MethodHead {
			t.Fatalf("%s: body %q without the cause", c.name, body)
		}
		if (response.Header.Get("Allow") != "") != (err.Status == 405) {
			t.Fatalf("%s: Allow %q with %d", c.name, response.Header.Get("Allow"), err.Status)
		}
	}
}
