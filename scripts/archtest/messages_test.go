package archtest

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// messagesPage lists every message of the daemon's log.
const messagesPage = "supervisor/MESSAGES.md"

// message is one message of the daemon's log: in the page, or in the code.
type message struct {
	levels, keys map[string]bool
	at           string // of one call
	variadic     bool   // some keys are in a slice
}

// snakeCase is the form of a key. The key of a duration ends in _s, for seconds.
var snakeCase = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// Operators search the daemon's log for messages and keys, so these change only together with
// the page that lists them.
func TestLogMessagesAreListed(t *testing.T) {
	listed, logged := listedMessages(t), loggedMessages(t)
	for text, in := range logged {
		page, ok := listed[text]
		if !ok {
			t.Errorf("%s: the message %q is not in %s", in.at, text, messagesPage)
			continue
		}
		if !maps.Equal(in.levels, page.levels) {
			t.Errorf("%s: %q has the levels %s; %s says %s", in.at, text, names(in.levels), messagesPage, names(page.levels))
		}
		for key := range in.keys {
			if !page.keys[key] && !in.variadic {
				t.Errorf("%s: %q has the key %s; %s does not list it", in.at, text, key, messagesPage)
			}
		}
		for key := range page.keys {
			if !in.keys[key] {
				t.Errorf("%s: %q does not have the key %s, which %s lists", in.at, text, key, messagesPage)
			}
		}
	}
	for text := range listed {
		if logged[text] == nil {
			t.Errorf("%s: %q is not logged anywhere", messagesPage, text)
		}
	}
}

// listedMessages reads the table of the page: message, level, keys, meaning.
func listedMessages(t *testing.T) map[string]*message {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", messagesPage))
	if err != nil {
		t.Fatal(err)
	}
	all, last := map[string]*message{}, ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if name <= last {
			t.Errorf("%s: %q comes after %q; the messages are sorted", messagesPage, name, last)
		}
		last = name
		all[name] = &message{levels: words(cells[2]), keys: words(cells[3])}
	}
	return all
}

// loggedMessages collects the calls of loggers in production code.
func loggedMessages(t *testing.T) map[string]*message {
	t.Helper()
	all := map[string]*message{}
	for _, f := range repository(t) {
		if f.isTest() || within(f.folder(), "scripts") || within(f.folder(), "examples") {
			continue
		}
		called := map[ast.Expr]bool{}
		for n := range ast.Preorder(f.tree) {
			if sel, ok := n.(*ast.SelectorExpr); ok && isLogger(sel.X) && isLogMethod(sel) && !called[sel] {
				t.Errorf("%s: %s is not called here; for a level in a variable call Log", f.at(sel), sel.Sel.Name)
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				continue
			}
			called[call.Fun] = true
			level, args, ok := loggerCall(f, call)
			if !ok {
				continue
			}
			text, ok := stringLiteral(args[0])
			if !ok {
				t.Errorf("%s: the message is not a string literal", f.at(call))
				continue
			}
			m := all[text]
			if m == nil {
				m = &message{levels: map[string]bool{}, keys: map[string]bool{}, at: f.at(call)}
				all[text] = m
			}
			for _, l := range level {
				m.levels[l] = true
			}
			if call.Ellipsis.IsValid() {
				m.variadic = true
				maps.Copy(m.keys, sliceKeys(t, f))
				continue
			}
			for i := 1; i < len(args); i += 2 {
				m.addKey(t, f, args[i])
			}
		}
	}
	return all
}

func (m *message) addKey(t *testing.T, f file, e ast.Expr) {
	t.Helper()
	key, ok := stringLiteral(e)
	if !ok || !snakeCase.MatchString(key) {
		t.Errorf("%s: a key is a string literal in snake_case", f.at(e))
	}
	m.keys[key] = true
}

// loggerCall reports whether call logs a message, at which levels, and its arguments from the
// message on. A level that is a variable is every hclog level that its function names.
func loggerCall(f file, call *ast.CallExpr) (levels []string, args []ast.Expr, ok bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(sel.X) || len(call.Args) == 0 {
		return nil, nil, false
	}
	switch {
	case sel.Sel.Name == "Log":
		return levelsNear(f, call), call.Args[1:], true
	case isLogMethod(sel):
		return []string{strings.ToLower(sel.Sel.Name)}, call.Args, true
	}
	return nil, nil, false
}

// isLogMethod reports whether sel selects a method of a logger that writes a message.
func isLogMethod(sel *ast.SelectorExpr) bool {
	return slices.Contains([]string{"Trace", "Debug", "Info", "Warn", "Error", "Log"}, sel.Sel.Name)
}

// isLogger reports whether e is a variable or a field of the name logger.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return strings.EqualFold(e.Name, "logger")
	case *ast.SelectorExpr:
		return strings.EqualFold(e.Sel.Name, "logger")
	}
	return false
}

// levelsNear lists the levels of hclog that the function around call names.
func levelsNear(f file, call *ast.CallExpr) (levels []string) {
	for _, d := range f.tree.Decls {
		if d.Pos() > call.Pos() || call.End() > d.End() {
			continue
		}
		for n := range ast.Preorder(d) {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "hclog" {
					levels = append(levels, strings.ToLower(sel.Sel.Name))
				}
			}
		}
	}
	return levels
}

// sliceKeys lists the keys in the []any literals and the appended arguments of f.
func sliceKeys(t *testing.T, f file) map[string]bool {
	m := &message{keys: map[string]bool{}}
	for n := range ast.Preorder(f.tree) {
		var elements []ast.Expr
		switch n := n.(type) {
		case *ast.CompositeLit:
			if a, ok := n.Type.(*ast.ArrayType); ok {
				if x, ok := a.Elt.(*ast.Ident); ok && x.Name == "any" {
					elements = n.Elts
				}
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && x.Name == "append" && len(n.Args)%2 == 1 && len(n.Args) > 1 {
				elements = n.Args[1:]
			}
		}
		for i := 0; i < len(elements); i += 2 {
			m.addKey(t, f, elements[i])
		}
	}
	return m.keys
}

func stringLiteral(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(literal.Value)
	return s, err == nil
}

func words(cell string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ' ' || r == ',' || r == '`' }) {
		set[word] = true
	}
	return set
}

func names(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), ", ") }
