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

func TestTheAddressOfAnAgentIsItsOwn(t *testing.T) {
	const shop = "[app.shop]\ncommand = \"gunicorn -b 127.0.0.1:8000 shop:app\"\nagent.listen = "
	for text, want := range map[string]string{
		shop + `"127.0.0.1:8100"`:   "",
		shop + `":8100"`:            "",
		shop + `"127.0.0.1:8000"`:   "127.0.0.1:8000 is also an address of shop",
		shop + `"unix:/run/a.sock"`: "HAProxy asks an agent by TCP",
		shop + `"systemd:agent"`:    "this address is bound by tideover itself",
		"[daemon]\nadmin = \"127.0.0.1:8100\"\n" + shop + `"127.0.0.1:8100"`:                                                    "127.0.0.1:8100 is also the address of shop",
		shop + `"127.0.0.1:8100"` + "\n[app.blog]\ncommand = \"gunicorn -b :8001 blog:app\"\nagent.listen = \"0.0.0.0:8100\"\n": "0.0.0.0:8100 is also an address of shop",
		"[app.work]\ncommand = \"celery -A shop worker\"\nagent.listen = \"127.0.0.1:8100\"\n":                                  "load balancers send nothing to work",
	} {
		dir := files(t, map[string]string{"tideover.toml": text})
		_, err := Load(filepath.Join(dir, "tideover.toml"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}
