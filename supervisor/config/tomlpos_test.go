package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const placeText = `# comment [not.a.table]
top = 1 # [neither]
[app.shop] # the shop
"listen" = [ "a", # first
   'b' ]
env = { A = "x", "B.C" = 'y' }
hold.timeout = """
three "" lines \"""" # here
ready . path="/"
when = 1979-05-27 07:32:00
[[many]]
x = [[1, 2], [3]]
[[many]]
x = 'it''s'
['quoted name'."x\ty"]
"é" = "ünï"
`

func TestPlaces(t *testing.T) {
	text := strings.Replace(placeText, "'it''s'", "'its'", 1)
	src, problem := parseSource("", text)
	if problem != nil {
		t.Fatal(problem)
	}
	for path, want := range map[string]string{
		"top":                   "top|1",
		"app":                   "[app.shop]|",
		"app.shop":              "[app.shop]|",
		"app.shop.listen":       `"listen"|` + "[ \"a\", # first\n   'b' ]",
		"app.shop.listen.1":     "'b'|'b'",
		"app.shop.env.A":        `A|"x"`,
		"app.shop.hold":         "hold|\"\"\"\nthree \"\" lines \\\"\"\"\"",
		"app.shop.hold.timeout": "timeout|\"\"\"\nthree \"\" lines \\\"\"\"\"",
		"app.shop.ready.path":   `path|"/"`,
		"app.shop.when":         "when|1979-05-27 07:32:00",
		"many.0.x.0.1":          "2|2",
		"many.1.x":              "x|'its'",
		"quoted name.x\ty":      "['quoted name'.\"x\\ty\"]|",
		"quoted name.x\ty.é":    `"é"|"ünï"`,
	} {
		p, ok := src.positions.lookup(strings.Split(path, ".")...)
		if got := text[p.key.start:p.key.end] + "|" + text[p.value.start:p.value.end]; !ok || got != want {
			t.Errorf("%s is at %q, want %q", path, got, want)
		}
	}
	if p, ok := src.positions.lookup("app", "shop", "env", "B.C"); !ok || text[p.value.start:p.value.end] != "'y'" {
		t.Errorf("a key with a dot in it was not found")
	}
	line, column, length, source := src.lineAndColumn(src.find([]string{"quoted name", "x\ty", "é"}).value)
	if line != 16 || column != 7 || length != 5 || source != `"é" = "ünï"` {
		t.Errorf("%d:%d+%d %q", line, column, length, source)
	}
}

// In every text that the decoder accepts, each key has a position; any other text is
// scanned to its end or to a bound. (The fuzzer ends a scan that does not.)
func FuzzPlaces(f *testing.F) {
	f.Add(placeText)
	f.Add("a = [{b = 1}, {b = 2,}]\n")
	f.Add("a.\"\".b = '''x''''\n")
	f.Add("a = [}\n[[[\n'b\n")
	for _, shape := range shapes() {
		f.Add(shape.text(4 << 10))
	}
	f.Fuzz(func(t *testing.T, text string) {
		root, exceeded := scanPositions(text)
		// Each position costs at least a byte of the text, the root and the end of a key none.
		if n := checkSpans(t, text, root); n > len(text)+2 {
			t.Errorf("%d positions in %d bytes: %q", n, len(text), text)
		}
		if exceeded != nil {
			if exceeded.at.start > exceeded.at.end || exceeded.at.end > len(text) {
				t.Errorf("%q: %+v", text, exceeded)
			}
			return
		}
		var into map[string]any
		meta, err := toml.Decode(text, &into)
		if err != nil {
			return
		}
		for _, key := range meta.Keys() {
			if _, ok := root.lookup(key...); !ok && !insideArray(into, key) {
				t.Errorf("no place for %q in %q", key, text)
			}
		}
	})
}

// checkSpans checks that every position is inside the text, and counts them.
func checkSpans(t *testing.T, text string, n *keyNode) (count int) {
	t.Helper()
	if n.key.start > n.key.end || n.key.end > len(text) || n.value.start > n.value.end || n.value.end > len(text) {
		t.Errorf("%+v in %q", n.keyPos, text)
	}
	count = 1
	for _, m := range n.members {
		count += checkSpans(t, text, m)
	}
	for _, e := range n.elements {
		count += checkSpans(t, text, e)
	}
	return count
}

// insideArray reports whether a key runs through an array of tables, where the
// decoder leaves out the numbers.
func insideArray(into map[string]any, key []string) bool {
	var at any = into
	for _, part := range key {
		table, ok := at.(map[string]any)
		if !ok {
			return true
		}
		at = table[part]
	}
	switch at.(type) {
	case []map[string]any, []any:
		return true
	}
	return false
}
