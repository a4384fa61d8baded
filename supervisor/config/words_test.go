package config

import (
	"strings"
	"testing"
)

func TestSplitWords(t *testing.T) {
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
		words, err := SplitWords(text)
		if got := strings.Join(words, "|"); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{`a 'b`, `"`, `a\`} {
		if words, err := SplitWords(text); err == nil {
			t.Errorf("%s: %q", text, words)
		}
	}
}

func TestACommandThatNeedsAShellIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a && b": "&&", "a; b": ";", "a | b": "|", "a > b": ">", "a < b": "<", "a &": "&", "a || b": "||",
		"a $(b)": "$(", "a `b`": "`", "a $PORT": "$PORT", `a "${PORT}"`: "${", `"a$(b)"`: "$(", "~/bin/a": "~", "a ~/b": "~",
	} {
		if words, err := commandWords(text); err == nil || !strings.HasPrefix(err.Error(), want+" needs a shell") {
			t.Errorf("%s: %q, %v", text, words, err)
		}
	}
	for _, text := range []string{`a '&&' "b;c" \;`, `a '$PORT' "5 $" $`, "a b~/c"} {
		if _, err := commandWords(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := commandWords("  "); err == nil {
		t.Error("an empty command was accepted")
	}
}
