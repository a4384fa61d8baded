package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// shape is a kind of text that can be made as long as one likes.
type shape struct {
	name    string
	begin   string
	repeat  func(n int) string // the n-th piece
	end     string
	refused string // words of the problem; empty: it is loaded
}

// text is the shape with at most size bytes.
func (s shape) text(size int) string {
	var b strings.Builder
	b.WriteString(s.begin)
	for n := 0; ; n++ {
		piece := s.repeat(n)
		if b.Len()+len(piece)+len(s.end) > size {
			break
		}
		b.WriteString(piece)
	}
	b.WriteString(s.end)
	return b.String()
}

func shapes() []shape {
	same := func(piece string) func(int) string { return func(int) string { return piece } }
	numbered := func(format string) func(int) string { return func(n int) string { return fmt.Sprintf(format, n) } }
	long := strings.TrimSuffix(strings.Repeat("a.", 90), ".")
	return []shape{
		{"a key of many parts", "a", same(".a"), "=1\n", "longer than 1000 bytes"},
		{"a header of many parts", "[a", same(".a"), "]\n", "longer than"},
		{"nested arrays", "a = ", same("["), "", "nested more than 100 deep"},
		{"nested arrays, one on each line", "a = ", same("[\n"), "", "nested more than 100 deep"},
		{"nested inline tables", "a = ", same("{a="), "", "nested more than 100 deep"},
		{"arrays in inline tables", "a = ", same("[{a="), "", "nested more than 100 deep"},
		{"a long bare word", "", same("a"), "", "longer than"},
		{"a long key in quotes", `"`, same("a"), `" = 1`, "longer than"},
		{"one long line", "a = [", same("1,"), "]", "the line is longer than"},
		{"a long string", `a = "`, same("a"), `"`, "the line is longer than"},
		{"short keys", "", numbered("k%d=1\n"), "", ""},
		{"short keys in a table", "[app.shop.env]\n", numbered("k%d=1\n"), "", ""},
		{"short keys in a deep table", "[" + long + "]\n", numbered("k%d=1\n"), "", "names of the tables around them"},
		{"short keys in a table with a long name", "[" + strings.Repeat("a", 990) + "]\n", numbered("%d=1\n"), "", "names of the tables around them"},
		{"headers", "", numbered("[a%d]\n"), "", ""},
		{"deep headers", "", numbered("[" + long + ".a%d]\n"), "", "names of the tables around them"},
		{"deep headers that share nothing", "", numbered("[b%d." + long + "]\n"), "", "names of the tables around them"},
		{"dotted keys", "", numbered("a%d.b.c=1\n"), "", ""},
		{"deep dotted keys", "", numbered("a%d." + long + "=1\n"), "", "names of the tables around them"},
		{"deep dotted keys that share all but the last", "", numbered(long + ".a%d=1\n"), "", "names of the tables around them"},
		{"array tables", "", same("[[a]]\n"), "", ""},
		{"array tables in an array table", "[[a]]\n", same("[[a.b]]\n"), "", ""},
		{"an array of numbers", "a = [\n", same("1,\n"), "]\n", ""},
		{"an array of arrays", "a = [\n", same("[],\n"), "]\n", ""},
		{"an array of inline tables", "a = [\n", same("{a=1},\n"), "]\n", ""},
		{"inline tables", "", numbered("a%d={b=1}\n"), "", ""},
		{"an inline table", "a = {", numbered("b%d=1,\n"), "}", ""},
		{"comments", "", same("#\n"), "", ""},
		{"line feeds", "", same("\n"), "", ""},
		{"a string of many lines", "a = \"\"\"", same("\\\n"), "\"\"\"\n", ""},
		{"a string of escapes", "a = \"\"\"", same("\\n\n"), "\"\"\"\n", ""},
		{"a string of quotes", "a = '''", same("''x\n"), "'''\n", ""},
		{"a string of backslashes", "a = \"\"\"", same("\\\\\n"), "\"\"\"\n", ""},
		{"not UTF-8", "a = \"\"\"", same("\xff\n"), "\"\"\"\n", "UTF-8"},
		{"brackets", "", same("]\n"), "", "expected"},
		{"open tables", "", same("[[[\n"), "", "expected"},
		{"a longer array for each key", "", func(n int) string { return fmt.Sprintf("a%d=[%s]\n", n, strings.Repeat("1,", n%1000)) }, "", ""},
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// sizes are those of the texts of a shape: large enough to be refused, small enough for the
// race detector.
var sizes = [2]int{maxFileSize / 8, maxFileSize / 4}

// checkGrowth checks that the memory for twice the text is not much more than twice the
// memory, and little enough for a text of maxFileSize. Tables that double are the reason
// for the difference.
func checkGrowth(t *testing.T, bytes [2]int) {
	t.Helper()
	t.Logf("%d KiB and %d KiB allocated for %d KiB and %d KiB", bytes[0]>>10, bytes[1]>>10, sizes[0]>>10, sizes[1]>>10)
	if bytes[1] > 3*bytes[0]+1<<20 || bytes[1] > 1000*sizes[1] {
		t.Errorf("%d bytes and %d bytes were allocated for texts of %d", bytes[0], bytes[1], sizes)
	}
}

func TestAFileOfAnyShapeIsDecodedInLinearMemoryOrRefusedWithItsPlace(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			var bytes [2]int
			for i, size := range sizes {
				text := s.text(size)
				var problems []Problem
				bytes[i] = allocated(func() { _, problems = parseSource("tideover.toml", text) })
				switch {
				case len(problems) == 0 && s.refused != "":
					t.Errorf("decoded; want a problem with %q", s.refused)
				case len(problems) > 0 && (s.refused == "" || !strings.Contains(problems[0].Message, s.refused) || problems[0].Line == 0):
					t.Errorf("%s; want %q", problems[0], s.refused)
				}
			}
			checkGrowth(t, bytes)
		})
	}
}

func TestAConfigurationOfAnyShapeIsLoadedInLinearMemoryOrRefused(t *testing.T) {
	quietEnvironment(t)
	numbered := func(format string) func(int) string {
		return func(n int) string { return strings.ReplaceAll(format, "N", fmt.Sprint(n)) }
	}
	variables := shape{begin: "[defaults.env]\n", repeat: numbered("VN=\"x\"\n")}.text(sizes[0] / 2)
	unknown := shape{begin: "[defaults]\n", repeat: numbered("commandN=\"x\"\n")}.text(sizes[0] / 2)
	for _, s := range []shape{
		{"apps", "", numbered("[app.aN]\ncommand=\"sleep\"\n"), "", ""},
		{"apps in one inline table", "app={\n", numbered("aN={command=\"sleep\"},\n"), "}", ""},
		{"apps of one name", "", numbered("[[app.a]]\ncommand=\"sleep\"\n"), "", "is no app"},
		{"apps on one port of many addresses", "", numbered("[app.aN]\ncommand=\"sleep\"\nlisten=\"hN:80\"\n"), "", ""},
		{"apps on one address", "", numbered("[app.aN]\ncommand=\"sleep\"\nlisten=\":80\"\n"), "", "after 200 errors"},
		{"apps that wait for the next one", "", func(n int) string { return fmt.Sprintf("[app.a%d]\ncommand=\"sleep\"\nafter=\"a%d\"\n", n, n+1) }, "", "there is no app"},
		{"apps that wait in circles", "", func(n int) string { return fmt.Sprintf("[app.a%d]\ncommand=\"sleep\"\nafter=\"a%d\"\n", n, n^1) }, "[app.a-1]\n", "wait for each other"},
		{"apps that wait for nothing", "", numbered("[app.aN]\ncommand=\"sleep\"\nafter=\"bN\"\n"), "", "after 200 errors"},
		{"apps with labels", "", numbered("[app.aN]\ncommand=\"sleep\"\nlabels=[\"bN\"]\n"), "", ""},
		{"unknown keys", "[app.a]\n", numbered("commandN=1\n"), "", "after 200 errors"},
		{"unknown keys at the top", "", numbered("commandN=1\n"), "", "after 200 errors"},
		{"variables", "[app.a]\ncommand=\"sleep\"\n[app.a.env]\n", numbered("VN=\"x\"\n"), "", ""},
		{"variables for many apps", variables, numbered("[app.aN]\ncommand=\"sleep\"\nenv={A=\"1\"}\n"), "", "what [defaults] says"},
		{"unknown keys for many apps", unknown, numbered("[app.aN]\ncommand=\"sleep\"\n"), "", "after 200 errors"},
		{"a long command for many apps", "[defaults]\ncommand=\"" + strings.Repeat("a ", 30000) + "\"\n", numbered("[app.aN]\n"), "", "what [defaults] says"},
	} {
		t.Run(s.name, func(t *testing.T) {
			var bytes [2]int
			for i, size := range sizes {
				l := newLoader("/etc/tideover.toml")
				text := s.text(size)
				bytes[i] = allocated(func() {
					src, problems := parseSource(l.file.Path, text)
					l.addAll(problems)
					if src != nil {
						l.use(src)
					}
				})
				all := NewError(l.problems)
				switch {
				case s.refused == "" && all.Errors() > 0:
					t.Errorf("refused: %.1000s", all)
				case !strings.Contains(all.Error(), s.refused):
					t.Errorf("%.1000s; want %q", all, s.refused)
				}
			}
			checkGrowth(t, bytes)
		})
	}
}

// The two branches of each layer would be walked twice as often with each layer.
func TestWaitingAppsAreEachVisitedOnce(t *testing.T) {
	var b strings.Builder
	for n := range 60 {
		fmt.Fprintf(&b, "[app.a%d]\ncommand=\"sleep\"\nafter=[\"a%d\",\"b%d\"]\n[app.b%d]\ncommand=\"sleep\"\nafter=[\"a%d\",\"b%d\"]\n", n, n+1, n+1, n, n+1, n+1)
	}
	b.WriteString("[app.a60]\ncommand=\"sleep\"\n[app.b60]\ncommand=\"sleep\"\n")
	problems, err := Check("/etc/tideover.toml", b.String())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
