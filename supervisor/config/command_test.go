package config

import (
	"strings"
	"testing"
)

func TestACommandThatNeedsAShellIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a && b": "&&", "a; b": ";", "a | b": "|", "a > b": ">", "a < b": "<", "a &": "&", "a || b": "||",
		"a $(b)": "$(", "a `b`": "`", "a $PORT": "$PORT", `a "${PORT}"`: "${", `"a$(b)"`: "$(", "~/bin/a": "~", "a ~/b": "~",
	} {
		if words, err := ParseCommand(text); err == nil || !strings.HasPrefix(err.Error(), want+" needs a shell") {
			t.Errorf("%s: %q, %v", text, words, err)
		}
	}
	for _, text := range []string{`a '&&' "b;c" \;`, `a '$PORT' "5 $" $`, "a b~/c"} {
		if _, err := ParseCommand(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseCommand("  "); err == nil {
		t.Error("an empty command was accepted")
	}
}
