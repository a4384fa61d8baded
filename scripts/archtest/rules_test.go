package archtest

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An init function runs in every program and test that imports the package,
// also where its effect is not wanted.
func TestNoInitFunctions(t *testing.T) {
	for _, f := range repository(t) {
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function; call it from where it is needed", f.at(fn))
			}
		}
	}
}

// Each process of tideover initialises the package variables of all packages, and the monitor and the
// relay use no regular expression. One that is compiled later is compiled here, too.
func TestRegularExpressionsAreCompiledWhenTheyAreUsed(t *testing.T) {
	patterns := 0
	for _, f := range repository(t) {
		if f.isTest() || within(f.folder(), "scripts") {
			continue
		}
		for _, d := range f.tree.Decls {
			if _, ok := d.(*ast.GenDecl); !ok {
				continue
			}
			for n := range ast.Preorder(d) {
				if call, ok := n.(*ast.CallExpr); ok && isSelector(call.Fun, "regexp", "MustCompile") {
					t.Errorf("%s: regexp.MustCompile in a package variable; use lazyregexp.New", f.at(call))
				}
			}
		}
		for n := range ast.Preorder(f.tree) {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isSelector(call.Fun, "lazyregexp", "New") {
				continue
			}
			patterns++
			if text, ok := constantText(call.Args[0]); !ok {
				t.Errorf("%s: the text is no constant", f.at(call))
			} else if _, err := regexp.Compile(text); err != nil {
				t.Errorf("%s: %v", f.at(call), err)
			}
		}
	}
	if patterns < 40 {
		t.Errorf("%d calls of lazyregexp.New were found", patterns)
	}
}

// isSelector reports whether x is NAME.SELECTED.
func isSelector(x ast.Expr, name, selected string) bool {
	sel, ok := x.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != selected {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == name
}

// constantText is the value of a string literal, or of a sum of such.
func constantText(x ast.Expr) (string, bool) {
	if sum, ok := x.(*ast.BinaryExpr); ok {
		left, ok := constantText(sum.X)
		right, also := constantText(sum.Y)
		return left + right, ok && also
	}
	return stringLiteral(x)
}

// A sleep guesses when a condition will be true. A wait polls the condition
// with a ticker and a deadline. A test of timers uses testing/synctest, where a
// sleep advances the fake clock.
func TestNoSleep(t *testing.T) {
	for _, f := range repository(t) {
		if f.isTest() && f.importsPath("testing/synctest") {
			continue
		}
		for call := range selectors(f, "time") {
			if call.Sel.Name == "Sleep" {
				t.Errorf("%s: time.Sleep; wait for the condition instead", f.at(call))
			}
		}
	}
}

// Packages receive their logger from cmd, so that all of them share its level,
// format and output.
func TestLoggersAreMadeInCmd(t *testing.T) {
	makers := []string{"New", "Default", "L", "SetDefault", "NewInterceptLogger", "FromStandardLogger"}
	for _, f := range repository(t) {
		for call := range selectors(f, "hclog") {
			if slices.Contains(makers, call.Sel.Name) && !within(f.folder(), "cmd/tideover") && !f.isTest() {
				t.Errorf("%s: hclog.%s; loggers are made in cmd/tideover and handed down", f.at(call), call.Sel.Name)
			}
		}
	}
}

// within reports whether folder is parent or a folder below it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// selectors yields every selector expression NAME.Something of f.
func selectors(f file, name string) func(yield func(*ast.SelectorExpr) bool) {
	return func(yield func(*ast.SelectorExpr) bool) {
		for n := range ast.Preorder(f.tree) {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && !yield(sel) {
				return
			}
		}
	}
}

// A package is named after what it does and has a package comment.
func TestPackagesAreNamedAndDocumented(t *testing.T) {
	vague := []string{"util", "utils", "common", "types", "helper", "helpers", "manager", "misc", "base"}
	documented := map[string]bool{}
	for _, f := range repository(t) {
		if slices.Contains(vague, f.tree.Name.Name) {
			t.Errorf("%s: package %s does not name what is in it", f.path, f.tree.Name.Name)
		}
		documented[f.folder()] = documented[f.folder()] || f.tree.Doc != nil
	}
	for folder, is := range documented {
		if !is {
			t.Errorf("%s: no package comment; doc.go states what the package is for", folder)
		}
	}
}

// The App belongs to one goroutine; a mutex in it shows a second owner.
func TestAppHasNoMutex(t *testing.T) {
	for _, f := range repository(t) {
		if f.path == "supervisor/app.go" && strings.Contains(f.text, "sync.Mutex") {
			t.Errorf("%s: a mutex; App belongs to one goroutine", f.path)
		}
	}
}

func TestNothingIsLeftUndone(t *testing.T) {
	for _, f := range repository(t) {
		if f.folder() == "scripts/archtest" {
			continue
		}
		for _, word := range []string{"TODO", "FIXME", "XXX", "not implemented", "not yet implemented"} {
			if strings.Contains(f.text, word) {
				t.Errorf("%s: %q; finish it, or file an issue and remove the note", f.path, word)
			}
		}
	}
}

// A test that assigns to a package variable cannot run in parallel with another
// test of the package. The value belongs into the Options of what is tested.
func TestNoTestAssignsPackageVariables(t *testing.T) {
	files := repository(t)
	variables := map[string]bool{} // folder.name
	for _, f := range files {
		if !f.isTest() {
			packageVariables(f, variables)
		}
	}
	for _, f := range files {
		if !f.isTest() {
			continue
		}
		for n := range ast.Preorder(f.tree) {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || assign.Tok.String() != "=" {
				continue
			}
			for _, x := range assign.Lhs {
				if name, ok := x.(*ast.Ident); ok && variables[f.folder()+"."+name.Name] {
					t.Errorf("%s: a test assigns to the package variable %s; pass the value as an option", f.at(assign), name.Name)
				}
			}
		}
	}
}

func packageVariables(f file, into map[string]bool) {
	for _, d := range f.tree.Decls {
		declaration, ok := d.(*ast.GenDecl)
		if !ok || declaration.Tok.String() != "var" {
			continue
		}
		for _, spec := range declaration.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if name.Name != "_" {
					into[f.folder()+"."+name.Name] = true
				}
			}
		}
	}
}

// The top level of the repository has the folders of the layout, and the files
// that hosting sites and the Go tool expect there.
func TestTopLevel(t *testing.T) {
	allowed := []string{"cmd", "supervisor", "listener", "proxy", "examples", "scripts",
		"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, path := range trackedFiles(t) {
		top, _, _ := strings.Cut(path, "/")
		if !slices.Contains(allowed, top) && !strings.HasPrefix(top, ".") {
			t.Errorf("%s: not a known name of the top level; these are listed in scripts/archtest", top)
		}
	}
}
