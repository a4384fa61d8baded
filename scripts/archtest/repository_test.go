package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// file is one Go source file of the repository, parsed.
type file struct {
	path string // from the repository's root, with slashes
	set  *token.FileSet
	tree *ast.File
	text string
}

func (f file) folder() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// at is the position of a node in the form that editors understand: path:line.
func (f file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

func (f file) lines(n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

// imports yields each import of f with its unquoted path.
func (f file) imports(yield func(*ast.ImportSpec, string) bool) {
	for _, spec := range f.tree.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil && !yield(spec, path) {
			return
		}
	}
}

// importsPath reports whether f imports the package at wanted.
func (f file) importsPath(wanted string) bool {
	for _, path := range f.imports {
		if path == wanted {
			return true
		}
	}
	return false
}

// repository parses all Go files of the repository, without nested modules,
// testdata and dot folders.
func repository(t *testing.T) []file {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(root, path, entry.Name())
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, parse(t, root, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no Go file under %s: the test runs in the wrong folder", root)
	}
	return files
}

// trackedFiles returns the path of each file in git's index, from the repository's root.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", "../..", "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

func skipFolder(root, path, name string) error {
	if path == root {
		return nil
	}
	if strings.HasPrefix(name, ".") || name == "testdata" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func parse(t *testing.T, root, path string) file {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	short, err := filepath.Rel(root, path)
	if err != nil {
		t.Fatal(err)
	}
	return file{path: filepath.ToSlash(short), set: set, tree: tree, text: string(text)}
}
