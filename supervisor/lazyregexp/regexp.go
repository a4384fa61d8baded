// Package lazyregexp has regular expressions that are compiled when they are first used. A package variable
// is made in each process of tideover: in the monitor and the relay, which use none of them, and in the shim
// of each app.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression. Several goroutines may use it.
type Regexp struct {
	text     string
	once     sync.Once
	compiled *regexp.Regexp
}

// New returns the expression of a text. The first use of one that does not compile panics; the architecture
// test compiles all of them.
func New(text string) *Regexp { return &Regexp{text: text} }

func (r *Regexp) regexp() *regexp.Regexp {
	r.once.Do(func() { r.compiled = regexp.MustCompile(r.text) })
	return r.compiled
}

// String is the text of the expression.
func (r *Regexp) String() string { return r.text }

// The other methods are those of [regexp.Regexp].

func (r *Regexp) MatchString(s string) bool { return r.regexp().MatchString(s) }

func (r *Regexp) FindString(s string) string { return r.regexp().FindString(s) }

func (r *Regexp) FindStringSubmatch(s string) []string { return r.regexp().FindStringSubmatch(s) }

func (r *Regexp) FindStringSubmatchIndex(s string) []int {
	return r.regexp().FindStringSubmatchIndex(s)
}

func (r *Regexp) FindAllString(s string, n int) []string { return r.regexp().FindAllString(s, n) }

func (r *Regexp) FindAllStringIndex(s string, n int) [][]int {
	return r.regexp().FindAllStringIndex(s, n)
}

func (r *Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return r.regexp().FindAllStringSubmatch(s, n)
}

func (r *Regexp) ReplaceAllString(s, with string) string { return r.regexp().ReplaceAllString(s, with) }

func (r *Regexp) ReplaceAllStringFunc(s string, with func(string) string) string {
	return r.regexp().ReplaceAllStringFunc(s, with)
}
