package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// refusedWords are private metaphors of earlier versions. HTTP, Unix process
// control and event loops have a standard term for each of these things.
var refusedWords = strings.Fields(`
	attendant bequest berth comeback desk errand estate farewell hearsay heir house
	lastwords letters moored roster seat spell stranded traveller vigil`)

// pronoun finds the words that a comment needs only where it speaks of a process,
// a socket or a request as of a person.
var pronoun = regexp.MustCompile(`(?i)\b(who|whom|whose|whoever|somebody|nobody|everybody|anybody|someone|anyone|everyone|whatever)\b`)

// reportedLines is the number of comment lines from which on a package is in the
// report of pronouns. In a smaller one a single line is a high rate.
const reportedLines = 200

// No declared name of a Go file contains a refused word.
func TestIdentifiersAreStandardTerms(t *testing.T) {
	for _, f := range repository(t) {
		for name := range declaredNames(f) {
			if word := refusedWord(name.Name); word != "" {
				t.Errorf("%s: %s contains %q; use the standard term", f.at(name), name.Name, word)
			}
		}
	}
}

// No path of a Go, shell or Python file contains a refused word.
func TestFileNamesAreStandardTerms(t *testing.T) {
	for _, name := range trackedFiles(t) {
		source := slices.Contains([]string{".go", ".py", ".sh", ""}, path.Ext(name)) // the scripts have no extension
		if word := refusedWord(name); source && word != "" {
			t.Errorf("%s: the name contains %q; use the standard term", name, word)
		}
	}
}

// TestRefusedWord checks where one name ends and the next begins.
func TestRefusedWord(t *testing.T) {
	for name, want := range map[string]string{
		"seat": "seat", "clientSeat": "seat", "Seats": "seat", "HTTPSeat": "seat", "seat2": "seat",
		"lastWords": "lastwords", "last_words": "lastwords", "proxy/heir_test.go": "heir",
		"seated": "", "parseState": "", "spellings": "", "theirs": "", "TestHouseholds": "", "letter": "",
	} {
		if got := refusedWord(name); got != want {
			t.Errorf("refusedWord(%q) = %q, want %q", name, got, want)
		}
	}
}

// declaredNames yields each name that f declares.
func declaredNames(f file) func(yield func(*ast.Ident) bool) {
	return func(yield func(*ast.Ident) bool) {
		for n := range ast.Preorder(f.tree) {
			for _, name := range declaredBy(n) {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// declaredBy returns the names that the node n itself declares.
func declaredBy(n ast.Node) []*ast.Ident {
	switch n := n.(type) {
	case *ast.File:
		return []*ast.Ident{n.Name}
	case *ast.ImportSpec:
		if n.Name != nil {
			return []*ast.Ident{n.Name}
		}
	case *ast.FuncDecl:
		return []*ast.Ident{n.Name}
	case *ast.TypeSpec:
		return []*ast.Ident{n.Name}
	case *ast.ValueSpec:
		return n.Names
	case *ast.Field:
		return n.Names
	case *ast.LabeledStmt:
		return []*ast.Ident{n.Label}
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return identifiers(n.Lhs...)
		}
	case *ast.RangeStmt:
		if n.Tok == token.DEFINE {
			return identifiers(n.Key, n.Value)
		}
	}
	return nil
}

func identifiers(expressions ...ast.Expr) []*ast.Ident {
	var names []*ast.Ident
	for _, x := range expressions {
		if name, ok := x.(*ast.Ident); ok {
			names = append(names, name)
		}
	}
	return names
}

// refusedWord returns the refused word that is one word of name, or two joined,
// with or without a plural s; and "" when there is none.
func refusedWord(name string) string {
	words := splitName(name)
	for i := range words {
		for j := i + 1; j <= min(i+2, len(words)); j++ {
			word := strings.Join(words[i:j], "")
			if slices.Contains(refusedWords, word) {
				return word
			}
			if singular := strings.TrimSuffix(word, "s"); slices.Contains(refusedWords, singular) {
				return singular
			}
		}
	}
	return ""
}

// splitName returns the words of an identifier or a path in lower case. A word
// begins at an upper-case letter behind a lower-case one or before one, and
// everything but a letter separates words.
func splitName(name string) []string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		behindLower := i > 0 && unicode.IsLower(runes[i-1])
		beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if !unicode.IsLetter(r) || unicode.IsUpper(r) && (behindLower || beforeLower) {
			b.WriteByte(' ')
		}
		if unicode.IsLetter(r) {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return strings.Fields(b.String())
}

// TestPronounReport prints for each package how many of 1,000 comment lines speak
// of a thing as of a person, its production and its test files apart. It never
// fails.
func TestPronounReport(t *testing.T) {
	lines, hits := map[string]int{}, map[string]int{}
	for _, f := range repository(t) {
		name := f.folder()
		if f.isTest() {
			name += " (tests)"
		}
		for line := range commentLines(f) {
			lines[name]++
			if pronoun.MatchString(line) {
				hits[name]++
			}
		}
	}
	var rates []rate
	for name, n := range lines {
		if n > reportedLines {
			rates = append(rates, rate{name, 1000 * float64(hits[name]) / float64(n)})
		}
	}
	slices.SortFunc(rates, func(a, b rate) int {
		return cmp.Or(cmp.Compare(b.perThousand, a.perThousand), strings.Compare(a.name, b.name))
	})
	var entries []string
	for _, r := range rates {
		entries = append(entries, fmt.Sprintf("%s %.1f", r.name, r.perThousand))
	}
	fmt.Printf("report: lines with who, whose, nobody, whatever per 1,000 comment lines: %s\n", strings.Join(entries, ", "))
}

// rate is one entry of the report of pronouns.
type rate struct {
	name        string
	perThousand float64
}

// commentLines yields each line of the comments of f, without directives.
func commentLines(f file) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, group := range f.tree.Comments {
			for _, comment := range group.List {
				if strings.HasPrefix(comment.Text, "//go:") {
					continue
				}
				for line := range strings.Lines(comment.Text) {
					if !yield(line) {
						return
					}
				}
			}
		}
	}
}
