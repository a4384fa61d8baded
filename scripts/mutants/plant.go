package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// A mutant is one check of the source that can be switched off.
type mutant struct {
	number int
	file   string // as the package has it: "gate.go"
	line   int
	within string // the function, with its receiver: "Gate.enter"
	what   string // what is switched off, in one line of source
}

// String is how a mutant is found again after the lines have moved.
func (m mutant) String() string { return m.file + " " + m.within + ": " + m.what }

// A planter writes mutants into one file of a package.
type planter struct {
	first   int // number of the first mutant
	source  string
	set     *token.FileSet
	tagged  map[int]bool // lines with a rule's number in their comment
	name    string
	within  string
	mutants []mutant
	edits   []edit
}

// edit is text that is put in.
type edit struct {
	at, order int
	text      string
}

var ruleTag = regexp.MustCompile(`^// (R\d+|body)\b`)

// plant returns the file with its mutants, numbered from first.
func plant(name, source string, first int) (string, []mutant, error) {
	p := &planter{first: first, source: source, set: token.NewFileSet(), tagged: map[int]bool{}, name: name}
	tree, err := parser.ParseFile(p.set, name, source, parser.ParseComments)
	if err != nil {
		return "", nil, err
	}
	for _, group := range tree.Comments {
		if ruleTag.MatchString(group.List[0].Text) {
			p.tagged[p.line(group.Pos())] = true
		}
	}
	for _, d := range tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			p.within = nameOf(fn)
			ast.Inspect(fn.Body, p.visit)
		}
	}
	return p.text(), p.mutants, nil
}

func nameOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	return fmt.Sprint(t, ".", fn.Name.Name)
}

// visit finds the checks: conditions of if, for and tagless switches, the parts of conditions, and statements that carry the number of a rule.
func (p *planter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		p.ignore(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			p.ignore(n.Cond)
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			p.cases(n)
		}
	case *ast.ReturnStmt:
		for _, result := range n.Results {
			if isLogical(result) {
				p.parts(result)
			}
		}
	case *ast.AssignStmt:
		if n.Tok == token.ASSIGN && p.tagged[p.line(n.Pos())] {
			p.wrap(n, "if !mutated(%d) { ", " }")
		}
	}
	return true
}

func (p *planter) cases(s *ast.SwitchStmt) {
	for _, clause := range s.Body.List {
		for _, condition := range clause.(*ast.CaseClause).List {
			p.ignore(condition)
		}
	}
}

// ignore makes a mutant that evaluates a condition and takes it for false, and those of its parts.
func (p *planter) ignore(condition ast.Expr) {
	p.wrap(condition, "((", ") && !mutated(%d))")
	if isLogical(condition) {
		p.parts(condition)
	}
}

// parts makes mutants that leave one operand out: of a || b each is taken for false once, of a && b for true.
func (p *planter) parts(e ast.Expr) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		p.parts(e.X)
	case *ast.UnaryExpr:
		p.parts(e.X)
	case *ast.BinaryExpr:
		if e.Op != token.LAND && e.Op != token.LOR {
			return
		}
		for _, operand := range []ast.Expr{e.X, e.Y} {
			if b, ok := operand.(*ast.BinaryExpr); !ok || b.Op != e.Op { // a || b || c has three parts, not four
				if e.Op == token.LOR {
					p.wrap(operand, "((", ") && !mutated(%d))")
				} else {
					p.wrap(operand, "((", ") || mutated(%d))")
				}
			}
			p.parts(operand)
		}
	}
}

func isLogical(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return isLogical(e.X)
	case *ast.UnaryExpr:
		return isLogical(e.X)
	case *ast.BinaryExpr:
		return e.Op == token.LAND || e.Op == token.LOR
	}
	return false
}

// wrap puts text around a piece of source, with the number of a new mutant in one of both.
func (p *planter) wrap(n ast.Node, before, after string) {
	from, to := p.set.Position(n.Pos()).Offset, p.set.Position(n.End()).Offset
	number := p.first + len(p.mutants)
	what := strings.Join(strings.Fields(p.source[from:to]), " ")
	if strings.Contains(after, "|| mutated") {
		what += " (taken for true)"
	}
	p.mutants = append(p.mutants, mutant{number: number, file: p.name, line: p.line(n.Pos()), within: p.within, what: what})
	order := len(p.mutants) // outer ones come first, and end last
	p.edits = append(p.edits, edit{from, order, numbered(before, number)}, edit{to, -order, numbered(after, number)})
}

func numbered(text string, number int) string {
	return strings.ReplaceAll(text, "%d", fmt.Sprint(number))
}

func (p *planter) line(pos token.Pos) int { return p.set.Position(pos).Line }

// text is the source with all edits.
func (p *planter) text() string {
	slices.SortStableFunc(p.edits, func(a, b edit) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
	var b strings.Builder
	at := 0
	for _, e := range p.edits {
		b.WriteString(p.source[at:e.at])
		b.WriteString(e.text)
		at = e.at
	}
	b.WriteString(p.source[at:])
	return b.String()
}
