package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// reportLength is the number of entries of each list in the report.
const reportLength = 8

// count is one entry of a list: a name and a number.
type count struct {
	name string
	n    int
}

// TestReport prints the largest files, functions, method sets and structs of
// the production code, largest first. It never fails.
func TestReport(t *testing.T) {
	var files, functions, fields []count
	methods := map[string]int{}
	for _, f := range repository(t) {
		if f.isTest() || strings.HasPrefix(f.path, "scripts/") {
			continue
		}
		files = append(files, count{f.path, strings.Count(f.text, "\n")})
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.folder() + "." + fn.Name.Name
			if fn.Recv != nil {
				methods[f.folder()+"."+receiver(fn)]++
				name = f.folder() + "." + receiver(fn) + "." + fn.Name.Name
			}
			functions = append(functions, count{name, f.lines(fn)})
		}
		fields = append(fields, structs(f)...)
	}
	report(t, "lines of a file", files)
	report(t, "lines of a function", functions)
	report(t, "fields of a struct", fields)
	var sets []count
	for name, n := range methods {
		sets = append(sets, count{name, n})
	}
	report(t, "methods of a type", sets)
}

// structs counts the fields of each struct type that f declares, embedded ones
// as one.
func structs(f file) []count {
	var all []count
	for n := range ast.Preorder(f.tree) {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			all = append(all, count{f.folder() + "." + spec.Name.Name, fields.Fields.NumFields()})
		}
	}
	return all
}

func report(t *testing.T, title string, counts []count) {
	t.Helper()
	slices.SortFunc(counts, func(a, b count) int { return cmp.Or(b.n-a.n, strings.Compare(a.name, b.name)) })
	var line []string
	for _, c := range counts[:min(reportLength, len(counts))] {
		line = append(line, fmt.Sprintf("%s %d", c.name, c.n))
	}
	fmt.Printf("report: %s: %s\n", title, strings.Join(line, ", "))
}

// receiver is the name of the type that a method belongs to.
func receiver(fn *ast.FuncDecl) string {
	x := fn.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	switch generic := x.(type) {
	case *ast.IndexExpr:
		x = generic.X
	case *ast.IndexListExpr:
		x = generic.X
	}
	if name, ok := x.(*ast.Ident); ok {
		return name.Name
	}
	return "?"
}
