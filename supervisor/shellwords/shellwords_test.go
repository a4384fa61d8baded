package shellwords

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"  a\tb\nc  ":             "a|b|c",
		`a 'b c' "d e"`:           "a|b c|d e",
		`a''b "" c`:               "ab||c",
		`\a \' "\"" "\a" '\a'`:    `a|'|"|\a|\a`,
		`"$HOME" '$(x)' a;b`:      `$HOME|$(x)|a;b`,
		`shop:create_app("prod")`: `shop:create_app(prod)`,
		`a\ b`:                    "a b",
	} {
		words, err := Split(text)
		if got := strings.Join(words, "|"); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{`a 'b`, `"`, `a\`} {
		if words, err := Split(text); err == nil {
			t.Errorf("%s: %q", text, words)
		}
	}
}

func TestParseFindsShellSyntax(t *testing.T) {
	for text, want := range map[string]string{"a b": "", "a; b": ";", "a '&&' $PORT && b": "$PORT", `"a$(b)"`: "$(", "~/bin/a": "~"} {
		if _, syntax, err := Parse(text); syntax != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", text, syntax, err, want)
		}
	}
}

// Words are the same after they were quoted for a shell.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`a 'b c' "d\"e" f\ g`, "''", `a\`, `"`, "a\tb\r\nc", `'it'"'"'s'`, "日本 語"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := Split(text)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := Split(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q: first %q, then %q, %v", text, words, again, err)
		}
	})
}
