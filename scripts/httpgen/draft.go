package httpgen

import "math/rand/v2"

// draft is a request being written.
type draft struct {
	*rand.Rand
	source    Source
	host      string // of the Host field
	method    string
	target    string
	version   string
	fields    []string // "Name: value"; finish adds Host, framing and Expect
	content   []byte
	hasBody   bool // also an empty one
	chunked   bool
	expect    bool
	hostFirst bool
}

// add adds a field.
func (d *draft) add(name, value string) { d.fields = append(d.fields, name+": "+value) }

// maybe adds a field in half of the requests.
func (d *draft) maybe(name, value string) {
	if d.oneIn(2) {
		d.add(name, value)
	}
}

// oneIn is true with a probability of 1/n.
func (d *draft) oneIn(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d *draft, from ...T) T { return from[d.IntN(len(from))] }

// upTo returns a number from 1 to n; small ones are far more frequent.
func (d *draft) upTo(n int) int {
	if n < 2 {
		return 1
	}
	f := d.Float64()
	return 1 + int(f*f*f*float64(n-1))
}

// word returns n letters of an alphabet.
func (d *draft) word(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[d.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	lowers  = "abcdefghijklmnopqrstuvwxyz"
	uppers  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	hex     = digits + "abcdef"
	base64  = lowers + uppers + digits + "+/"
	urlSafe = lowers + uppers + digits + "-_"
	tchars  = lowers + uppers + digits + "!#$%&'*+-.^`|~" // of field names and methods, without the underscore, which tideover handles apart
)

func (d *draft) lowercase(n int) string { return d.word(1+d.IntN(n), lowers) }
