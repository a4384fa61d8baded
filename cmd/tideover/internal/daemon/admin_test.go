package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTokenOfThePageIsReadFromAFileThatOthersCannotRead(t *testing.T) {
	dir := t.TempDir()
	token := strings.Repeat("0123456789abcdef", 4)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string // the token, or a part of the error
	}{
		"right":      {token + "\n", 0o600, token},
		"group":      {token + "\r\nmore", 0o640, token},
		"open":       {token, 0o644, "chmod 600 " + filepath.Join(dir, "open")},
		"group-may":  {token, 0o660, "has mode 0660"},
		"short":      {"secret\n", 0o600, "has 6 characters"},
		"empty":      {"\n" + token, 0o600, "has 0 characters"},
		"long":       {strings.Repeat("x", 1001), 0o600, "has 1001 characters"},
		"characters": {strings.Repeat("ä", 20), 0o600, "other characters"},
		"space":      {token + " " + token, 0o600, "other characters"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		switch got, err := pageToken(path); {
		case c.want == token && (err != nil || got != token):
			t.Errorf("%s: %q %v", name, got, err)
		case c.want != token && (err == nil || got != "" || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "daemon.admin_auth.token_file: ")):
			t.Errorf("%s: %q %v", name, got, err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the error has the token: %v", name, err)
		}
	}
	if _, err := pageToken(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is missing has a token")
	}
	if token, err := pageToken(""); token != "" || err != nil {
		t.Errorf("%q %v", token, err)
	}
}
