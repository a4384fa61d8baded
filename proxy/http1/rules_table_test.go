package http1

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write RULES.md from the table")

const rulesIntro = `# Rules for HTTP/1.1 messages and connections

Made from rules.go by ` + "`go test ./proxy/http1 -run TestRulesPage -update`" + `.

A log line names the rule that a message broke by its code and its name: ` + "`LF without CR (R14 BareLF)`" + `.
In the source the rule is the constant ` + "`RuleBareLF`" + `.

The answer is the status that a client gets when a message breaks the rule. 502 is the answer to a client
whose response from the app breaks it. A rule without an answer cannot be broken: it says what tideover does.
Where a text says "although the RFC", tideover differs from it on purpose.

`

// rulesPage returns the page of the table.
func rulesPage() string {
	var b strings.Builder
	b.WriteString(rulesIntro)
	b.WriteString("| code | name | RFC | rule | answer | where |\n|---|---|---|---|---|---|\n")
	for _, r := range Rules {
		var answer []string
		for _, status := range r.Status {
			answer = append(answer, strconv.Itoa(status))
		}
		text := strings.ReplaceAll(r.Text, "*", `\*`)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", string(r.Rule), r.Name, r.RFC, text, strings.Join(answer, ", "), r.Where)
	}
	return b.String()
}

func TestRulesPage(t *testing.T) {
	if *update {
		if err := os.WriteFile("RULES.md", []byte(rulesPage()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile("RULES.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != rulesPage() {
		t.Error("RULES.md is not the page of the table: run this test with -update")
	}
}

// TestRulesTable: the table has one row for each constant, in the order of the constants. Each row is
// complete, and its file or package names the constant or an error of the rule.
func TestRulesTable(t *testing.T) {
	var rows, codes []string
	for _, r := range Rules {
		rows = append(rows, "Rule"+r.Name)
		codes = append(codes, string(r.Rule))
		if !regexp.MustCompile(`^RFC \d{4} section [\d.]+$`).MatchString(r.RFC) {
			t.Errorf("%s: RFC %q", r.Rule, r.RFC)
		}
		if !strings.HasSuffix(r.Text, ".") || strings.ContainsAny(r.Text, "|\n") {
			t.Errorf("%s: text %q", r.Rule, r.Text)
		}
		source := sourceOf(t, "../../"+r.Where)
		if !regexp.MustCompile(`\bRule`+r.Name+`\b`).Match(source) && !namesErrorOf(r.Rule, source) {
			t.Errorf("%s: %s does not name it", r.Rule, r.Where)
		}
	}
	if constants := ruleConstants(t); !slices.Equal(rows, constants) {
		t.Errorf("rows    %q\nconstants %q", rows, constants)
	}
	var want []string
	for _, part := range [][2]int{{1, 55}, {60, 65}, {70, 80}, {85, 91}} {
		for n := part[0]; n <= part[1]; n++ {
			want = append(want, "R"+strconv.Itoa(n))
		}
	}
	if want = append(want, "head", "body"); !slices.Equal(codes, want) {
		t.Errorf("codes %q\nwant  %q", codes, want)
	}
}

// sourceOf returns the text of a file, or of all files of a package except its tests.
func sourceOf(t *testing.T, path string) (text []byte) {
	t.Helper()
	files := []string{path}
	if !strings.HasSuffix(path, ".go") {
		files, _ = filepath.Glob(path + "/*.go")
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, source...)
	}
	return text
}

// namesErrorOf reports whether source names an error of errors.go that has the rule.
func namesErrorOf(r Rule, source []byte) bool {
	declarations, _ := os.ReadFile("errors.go")
	constant := "Rule" + strings.TrimPrefix(r.String(), string(r)+" ")
	for _, m := range regexp.MustCompile(`(err\w+) += .*\b`+constant+`\b`).FindAllSubmatch(declarations, -1) {
		if regexp.MustCompile(`\b` + string(m[1]) + `\b`).Match(source) {
			return true
		}
	}
	return false
}

// ruleConstants returns the names of the constants of type Rule in their order.
func ruleConstants(t *testing.T) (constants []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Rule" {
				constants = append(constants, spec.Names[0].Name)
			}
		}
		return true
	})
	return constants
}

func TestRuleString(t *testing.T) {
	for rule, want := range map[Rule]string{RuleBareLF: "R14 BareLF", RuleBodyLimits: "body BodyLimits", "R0": "R0"} {
		if got := rule.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
