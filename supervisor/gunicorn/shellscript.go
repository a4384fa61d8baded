package gunicorn

import (
	"errors"
	"strings"
)

// shellScript is the text of a shell script, split into simple commands. It is read as a POSIX
// shell reads it, with what is usual of bash. Nothing is expanded.
type shellScript struct {
	text     string
	commands []simpleCommand
}

// simpleCommand is one command of a script.
type simpleCommand struct {
	words    []shellWord // assignments among them, without redirections
	at       int         // offset in the text of its first word or redirection
	depth    int         // number of compound commands (if, while, {, a subshell) around it
	before   string      // operator in front of it; "" at the beginning
	after    string      // operator behind it; "" at the end
	writesTo string      // file to which output is redirected; "": none
	inner    []shellScript
}

// shellWord is a word as it is written, with its quotes.
type shellWord struct {
	raw string
	at  int // offset in the text
}

// end is the offset behind the word.
func (w shellWord) end() int { return w.at + len(w.raw) }

// errSyntax is the error of a script with syntax that scanScript does not know.
var errSyntax = errors.New("its syntax is not known")

// scanScript splits the text of a script. The error is errSyntax.
func scanScript(text string) (shellScript, error) {
	l := shellLexer{text: text}
	s := shellScript{text: text}
	var err error
	s.commands, err = l.list(0)
	return s, err
}

// maxNesting bounds command substitutions in each other.
const maxNesting = 20

type shellLexer struct {
	text    string
	at      int
	nesting int
	quotes  bool // inside of double quotes
}

func (l *shellLexer) rest() string { return l.text[l.at:] }

func (l *shellLexer) peek() byte {
	if l.at < len(l.text) {
		return l.text[l.at]
	}
	return 0
}

// reserved are the reserved words that stand before a command, and by how much they change the
// depth. "for" stands before words that are not a command.
var reserved = map[string]int{
	"if": 1, "then": 0, "elif": 0, "else": 0, "fi": -1, "while": 1, "until": 1, "do": 0, "done": -1, "{": 1, "}": -1, "!": 0,
}

// operators of the shell, the longer ones first.
var operators = []string{"&&", "||", "|&", "|", "&", ";", "\n"}

// list reads commands up to the closing character, or to the end of the text.
func (l *shellLexer) list(closing byte) ([]simpleCommand, error) {
	if l.nesting++; l.nesting > maxNesting {
		return nil, errSyntax
	}
	defer func() { l.nesting-- }()
	r := listReader{shellLexer: l}
	for {
		l.skipBlanks()
		if b := l.peek(); b == closing {
			r.end("")
			if r.depth != 0 || closing == 0 && l.at < len(l.text) {
				return r.all, errSyntax
			}
			return r.all, nil
		}
		if err := r.next(); err != nil {
			return r.all, err
		}
	}
}

// listReader is a list of commands that is being read.
type listReader struct {
	*shellLexer
	all   []simpleCommand
	c     simpleCommand // the present one
	begun bool          // it has a word or a redirection
	depth int
}

// end ends the present command at an operator.
func (r *listReader) end(operator string) {
	if len(r.c.words) > 0 || r.c.writesTo != "" || len(r.c.inner) > 0 {
		r.c.after = operator
		r.all = append(r.all, r.c)
	} else if operator == "\n" && len(r.all) > 0 {
		operator = r.c.before // an empty line does not end "a &&"
	}
	r.c, r.begun = simpleCommand{depth: r.depth, before: operator}, false
}

// next reads an operator, a redirection, a subshell or a word.
func (r *listReader) next() error {
	operator := r.operator()
	switch b := r.peek(); {
	case b == '(' && len(r.c.words) == 0 && !strings.HasPrefix(r.rest(), "(("): // else a function, an array, arithmetic
		return r.subshell()
	case b == 0 || b == '(' || b == ')':
		return errSyntax
	case operator != "":
		r.at += len(operator)
		if operator == ";" && r.peek() == ';' {
			return errSyntax // case
		}
		r.end(operator)
		return nil
	case r.isRedirection():
		r.begin(r.at)
		return r.redirection(&r.c)
	}
	return r.command()
}

// begin sets where the present command begins, unless it has begun.
func (r *listReader) begin(at int) {
	if !r.begun {
		r.c.at, r.begun = at, true
	}
}

// subshell reads "( COMMANDS )".
func (r *listReader) subshell() error {
	r.at++
	inner, err := r.list(')')
	if err != nil {
		return err
	}
	r.at++
	for _, sub := range inner {
		sub.depth += r.depth + 1
		r.all = append(r.all, sub)
	}
	return nil
}

// command reads one word of a command, or a reserved word in front of it.
func (r *listReader) command() error {
	from := r.at
	if err := r.word(&r.c.inner); err != nil {
		return err
	}
	raw := r.text[from:r.at]
	change, isReserved := reserved[raw]
	switch {
	case len(r.c.words) > 0:
	case isReserved:
		r.depth += change
		r.c.depth = r.depth
		return nil
	case raw == "for":
		r.depth++
		return r.skipFor(&r.c.inner)
	case raw == "case" || raw == "function" || raw == "select":
		return errSyntax
	case raw == "[[":
		r.begin(from)
		r.c.words = append(r.c.words, shellWord{raw, from})
		return r.skipTest(&r.c.inner)
	}
	r.begin(from)
	r.c.words = append(r.c.words, shellWord{raw, from})
	return nil
}

// operator returns the operator at the present offset, or "".
func (l *shellLexer) operator() string {
	if strings.HasPrefix(l.rest(), "&>") {
		return ""
	}
	for _, o := range operators {
		if strings.HasPrefix(l.rest(), o) {
			return o
		}
	}
	return ""
}

// skipBlanks skips blanks, continued lines and comments.
func (l *shellLexer) skipBlanks() {
	for {
		switch {
		case l.peek() == ' ' || l.peek() == '\t' || l.peek() == '\r':
			l.at++
		case strings.HasPrefix(l.rest(), "\\\n"):
			l.at += 2
		case strings.HasPrefix(l.rest(), "\\\r\n"):
			l.at += 3
		case l.peek() == '#':
			for l.at < len(l.text) && l.peek() != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

// skipFor skips "NAME in WORDS" behind "for". Without "in" a command follows.
func (l *shellLexer) skipFor(inner *[]shellScript) error {
	for n := 0; ; n++ {
		l.skipBlanks()
		if b := l.peek(); n > 0 && (b == ';' || b == '\n') {
			return nil
		}
		before := l.at
		if err := l.word(inner); err != nil {
			return err
		}
		if word := l.text[before:l.at]; word == "" || n == 1 && word != "in" {
			return errSyntax
		}
	}
}

// skipTest skips what stands between "[[" and "]]". A process substitution is errSyntax.
func (l *shellLexer) skipTest(inner *[]shellScript) error {
	for {
		l.skipBlanks()
		if strings.HasPrefix(l.rest(), "<(") || strings.HasPrefix(l.rest(), ">(") {
			return errSyntax
		}
		if strings.IndexByte("&|()<>\n", l.peek()) >= 0 && l.peek() != 0 {
			l.at++
			continue
		}
		before := l.at
		if err := l.word(inner); err != nil {
			return err
		}
		switch l.text[before:l.at] {
		case "]]":
			return nil
		case "":
			return errSyntax
		}
	}
}

// isRedirection reports whether a redirection begins here: "<", "2>&1", "&>".
func (l *shellLexer) isRedirection() bool {
	rest := strings.TrimLeft(l.rest(), "0123456789")
	return strings.HasPrefix(l.rest(), "&>") || rest != "" && (rest[0] == '<' || rest[0] == '>')
}

// redirection reads a redirection. A here document and a process substitution are errSyntax.
func (l *shellLexer) redirection(c *simpleCommand) error {
	from := l.at
	for strings.IndexByte("0123456789&<>|", l.peek()) >= 0 && l.peek() != 0 {
		l.at++
		if last := l.text[l.at-1]; last == '&' && l.at-1 > from {
			break // the number in ">&1" is the target
		}
	}
	operator := strings.TrimLeft(l.text[from:l.at], "0123456789")
	if operator == "<<" || l.peek() == '(' {
		return errSyntax
	}
	l.skipBlanks()
	begin := l.at
	if err := l.word(&c.inner); err != nil {
		return err
	}
	target := l.text[begin:l.at]
	toDescriptor := strings.HasSuffix(operator, "&") && strings.Trim(target, "0123456789-") == ""
	if strings.Contains(operator, ">") && !toDescriptor && target != "/dev/null" && target != "/dev/stdout" && target != "/dev/stderr" {
		c.writesTo = target
	}
	if target == "" {
		return errSyntax
	}
	return nil
}

// word skips one word, which may be empty. The command substitutions in it are added to inner.
func (l *shellLexer) word(inner *[]shellScript) error {
	for l.at < len(l.text) {
		switch b := l.peek(); {
		case strings.IndexByte(" \t\r\n;&|<>()", b) >= 0:
			return nil
		case b == '\'':
			if err := l.skipTo('\''); err != nil {
				return err
			}
		case b == '"':
			if err := l.quoted(inner); err != nil {
				return err
			}
		default:
			if err := l.character(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// skipTo skips the present character and everything up to the next one like it.
func (l *shellLexer) skipTo(closing byte) error {
	end := strings.IndexByte(l.text[l.at+1:], closing)
	if end < 0 {
		return errSyntax
	}
	l.at += end + 2
	return nil
}

// quoted skips a text in double quotes.
func (l *shellLexer) quoted(inner *[]shellScript) error {
	defer func(outside bool) { l.quotes = outside }(l.quotes)
	l.quotes = true
	l.at++
	for l.at < len(l.text) {
		if l.peek() == '"' {
			l.at++
			return nil
		}
		if err := l.character(inner); err != nil {
			return err
		}
	}
	return errSyntax
}

// character skips one character, an escaped one, or an expansion.
func (l *shellLexer) character(inner *[]shellScript) error {
	switch rest := l.rest(); {
	case rest == "\\":
		return errSyntax // what is put behind it would be escaped
	case rest[0] == '\\':
		l.at += 2
	case rest[0] == '`':
		from := l.at + 1
		if err := l.skipTo('`'); err != nil {
			return err
		}
		text := l.text[from : l.at-1]
		if strings.Contains(text, "\\") {
			return errSyntax
		}
		return l.substitution(shellLexer{text: text, nesting: l.nesting}, 0, inner)
	case strings.HasPrefix(rest, "$(("):
		l.at += 3
		return l.until("))", inner)
	case strings.HasPrefix(rest, "$("):
		sub := *l
		sub.at, sub.quotes = sub.at+2, false
		if err := l.substitution(sub, ')', inner); err != nil {
			return err
		}
	case strings.HasPrefix(rest, "${"):
		l.at += 2
		return l.until("}", inner)
	case strings.HasPrefix(rest, "$'"):
		return errSyntax
	default:
		l.at++
	}
	return nil
}

// substitution reads a command substitution. Where closing is not 0 it is part of l's own text,
// and l continues behind it.
func (l *shellLexer) substitution(sub shellLexer, closing byte, inner *[]shellScript) error {
	from := sub.at
	commands, err := sub.list(closing)
	if err != nil {
		return err
	}
	*inner = append(*inner, shellScript{text: sub.text[from:sub.at], commands: commands})
	if closing != 0 {
		l.at = sub.at + 1
	}
	return nil
}

// until skips the rest of an expansion, up to its end. Where shells differ it is errSyntax: a single
// quote in "${X:-'}", and parentheses that make of "$((" a command substitution with a subshell.
func (l *shellLexer) until(closing string, inner *[]shellScript) error {
	if l.nesting++; l.nesting > maxNesting {
		return errSyntax
	}
	defer func() { l.nesting-- }()
	open := 0 // parentheses
	for l.at < len(l.text) {
		var err error
		switch b := l.peek(); {
		case open == 0 && strings.HasPrefix(l.rest(), closing):
			l.at += len(closing)
			return nil
		case b == '\'' && (l.quotes || closing == "))"):
			return errSyntax
		case b == '\'':
			err = l.skipTo('\'')
		case b == '"':
			err = l.quoted(inner)
		case b == '(' && closing == "))":
			open++
			l.at++
		case b == ')' && closing == "))":
			if open--; open < 0 {
				return errSyntax
			}
			l.at++
		default:
			err = l.character(inner)
		}
		if err != nil {
			return err
		}
	}
	return errSyntax
}
