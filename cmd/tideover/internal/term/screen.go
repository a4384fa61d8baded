package term

import (
	"io"
	"os"

	xterm "golang.org/x/term"
)

// Screen is an output and what it can show.
type Screen struct {
	Out      io.Writer
	Terminal bool // lines may be rewritten in place
	Color    bool
	Width    int // in columns
	Height   int // in lines
}

// NewScreen looks at w. color is "auto", "always" or "never"; with "auto" a
// terminal has colour unless NO_COLOR is set. A terminal named "dumb" counts as
// no terminal.
func NewScreen(w io.Writer, color string, getenv func(string) string) Screen {
	s := Screen{Out: w, Width: 80, Height: 24}
	if f := File(w); f != nil && getenv("TERM") != "dumb" && xterm.IsTerminal(int(f.Fd())) {
		s.Terminal = true
		if width, height, err := xterm.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.Width, s.Height = width, height
		}
	}
	switch color {
	case "always":
		s.Color = true
	case "auto":
		s.Color = s.Terminal && getenv("NO_COLOR") == ""
	}
	return s
}

// File returns the file that w is or, by its method Unwrap, writes to; nil: none.
func File(w any) *os.File {
	if outer, ok := w.(interface{ Unwrap() io.Writer }); ok {
		w = outer.Unwrap()
	}
	f, _ := w.(*os.File)
	return f
}

// Columns is how many columns of the width may be used: the last one stays
// free, because some terminals begin a new line when it is written.
func (s Screen) Columns() int { return max(20, s.Width-1) }

// Color is the parameters of an SGR escape sequence.
type Color string

const (
	Red    Color = "31"
	Green  Color = "32"
	Yellow Color = "33"
	Faint  Color = "2"
	Bold   Color = "1"
)

// Paint returns text in a colour, or text itself where there are no colours.
func (s Screen) Paint(c Color, text string) string {
	if !s.Color {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Mark returns a symbol on a terminal and a word elsewhere.
func (s Screen) Mark(symbol, word string) string {
	if s.Terminal {
		return symbol
	}
	return word
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return xterm.IsTerminal(int(f.Fd())) }
