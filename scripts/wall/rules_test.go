package wall

import (
	"go/ast"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNothingRunsByImport(t *testing.T) {
	for _, f := range house(t) {
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init runs before anybody asked; call it from where it is needed", f.at(fn))
			}
		}
	}
}

// Sleeping is guessing when something will be true. Who waits for a condition
// asks for it, with a ticker and a deadline; who tests time uses synctest, in
// whose bubble a sleep moves the fake clock and guesses nothing.
func TestNobodySleeps(t *testing.T) {
	for _, f := range house(t) {
		if f.isTest() && f.knows("testing/synctest") {
			continue
		}
		for call := range callsOf(f, "time") {
			if call.Sel.Name == "Sleep" {
				t.Errorf("%s: time.Sleep; wait for the condition instead", f.at(call))
			}
		}
	}
}

func TestLoggersAreMadeInCmd(t *testing.T) {
	makers := []string{"New", "Default", "L", "SetDefault", "NewInterceptLogger", "FromStandardLogger"}
	for _, f := range house(t) {
		for call := range callsOf(f, "hclog") {
			if slices.Contains(makers, call.Sel.Name) && f.folder() != "cmd/tideover" && !f.isTest() {
				t.Errorf("%s: hclog.%s; loggers are made in cmd/tideover and handed down", f.at(call), call.Sel.Name)
			}
		}
	}
}

// callsOf yields every selector NAME.Something of f.
func callsOf(f file, name string) func(yield func(*ast.SelectorExpr) bool) {
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

func TestPackagesAreNamedForWhatTheyDo(t *testing.T) {
	vague := []string{"util", "utils", "common", "types", "helper", "helpers", "manager", "misc", "base"}
	documented := map[string]bool{}
	for _, f := range house(t) {
		if slices.Contains(vague, f.tree.Name.Name) {
			t.Errorf("%s: package %s says nothing about what is in it", f.path, f.tree.Name.Name)
		}
		documented[f.folder()] = documented[f.folder()] || f.tree.Doc != nil
	}
	for folder, is := range documented {
		if !is {
			t.Errorf("%s: no package comment; doc.go says what the package is for", folder)
		}
	}
}

// One goroutine owns an App, so it needs no mutex.
func TestAppHasNoMutex(t *testing.T) {
	for _, f := range house(t) {
		if f.path == "supervisor/app.go" && strings.Contains(f.text, "sync.Mutex") {
			t.Errorf("%s: a mutex; App belongs to one goroutine", f.path)
		}
	}
}

func TestNothingIsLeftUndone(t *testing.T) {
	for _, f := range house(t) {
		if f.folder() == "scripts/wall" {
			continue
		}
		for _, word := range []string{"TODO", "FIXME", "XXX", "not implemented", "not yet implemented"} {
			if strings.Contains(f.text, word) {
				t.Errorf("%s: %q; do it, or open an issue and leave it out", f.path, word)
			}
		}
	}
}

// A test that swaps a variable of the package cannot run beside another one,
// and shows that the code has a seam in the wrong place.
func TestNoTestSwapsAPackageVariable(t *testing.T) {
	files := house(t)
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
					t.Errorf("%s: a test assigns to the package's variable %s; hand it in instead", f.at(assign), name.Name)
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

func TestTopLevelIsTheHouse(t *testing.T) {
	allowed := []string{"cmd", "supervisor", "listener", "proxy", "examples", "scripts",
		"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md"}
	out, err := exec.Command("git", "-C", "../..", "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for path := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(strings.TrimSpace(path), "/")
		if !slices.Contains(allowed, top) && !strings.HasPrefix(top, ".") {
			t.Errorf("%s: nothing else lives at the top level", top)
		}
	}
}
