package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTheAdminAddressIsChecked(t *testing.T) {
	const app = "[app.shop]\ncommand = \"gunicorn shop:app\"\nlisten = \"127.0.0.1:8000\"\nuser = \"www-data\"\n"
	for admin, want := range map[string]string{
		"127.0.0.1:9464":     "",
		"[::1]:9464":         "",
		"localhost:9464":     "",
		"unix:/run/a.sock":   "",
		"0.0.0.0:9464":       "warning: daemon.admin is open to other machines",
		":9464":              "warning: daemon.admin is open to other machines",
		"192.0.2.1:9464":     "warning: daemon.admin is open to other machines",
		"admin.example:9464": "warning: daemon.admin is open to other machines",
		"127.0.0.1:8000":     "127.0.0.1:8000 is also the address of shop",
		"0.0.0.0:8000":       "0.0.0.0:8000 is also the address of shop",
		"systemd:admin":      "this address is bound by tideover itself",
		"9464":               "write \":9464\"",
		"unix:run/a.sock":    "must begin with /",
		"":                   "has no port",
	} {
		dir := files(t, map[string]string{"tideover.toml": "[daemon]\nadmin = \"" + admin + "\"\n" + app})
		file, err := Load(filepath.Join(dir, "tideover.toml"))
		said := ""
		if err != nil {
			said = err.Error()
		} else {
			for _, w := range file.Warnings {
				if strings.Contains(w.Message, "admin") {
					said += "warning: " + w.Message
				}
			}
		}
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%q: %q, want %q", admin, said, want)
		}
	}
}
