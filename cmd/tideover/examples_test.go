package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	units "github.com/coreos/go-systemd/v22/unit"

	"tideover/supervisor/config"
)

// The published units call tideover as it can be called, and every socket that
// an app asks for by name is passed by one of them.
func TestExamplesForSystemd(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"../../examples/systemd", "../../examples/systemd/one-app"} {
		services, err := filepath.Glob(dir + "/*.service")
		must(t, err)
		sockets, err := filepath.Glob(dir + "/*.socket")
		must(t, err)
		if len(services) != 1 || len(sockets) != 1 {
			t.Fatalf("%s has %q and %q", dir, services, sockets)
		}
		service, socket := values(t, services[0]), values(t, sockets[0])
		asked := checkCommands(t, service)
		if strings.Contains(service["ExecStart"][0], "tideover.toml") {
			text, err := os.ReadFile(dir + "/tideover.toml")
			must(t, err)
			copied := filepath.Join(t.TempDir(), "tideover.toml") // root takes none of another user
			must(t, os.WriteFile(copied, text, 0o600))
			file, err := config.Load(copied)
			must(t, err)
			for _, app := range file.Apps {
				asked = append(asked, app.Listen...)
			}
		}
		if name := "systemd:" + socket["FileDescriptorName"][0]; len(asked) != 1 || asked[0] != name {
			t.Errorf("%s: asked for %q, passed is %s", dir, asked, name)
		}
		if service["Sockets"][0] != filepath.Base(sockets[0]) || service["Type"][0] != "notify" {
			t.Errorf("%s: Sockets=%s, Type=%s", services[0], service["Sockets"], service["Type"])
		}
	}
}

// values are a unit's settings by name.
func values(t *testing.T, path string) map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	options, err := units.DeserializeOptions(f)
	must(t, err)
	all := map[string][]string{}
	for _, o := range options {
		all[o.Name] = append(all[o.Name], o.Value)
	}
	return all
}

// checkCommands parses ExecStart and ExecReload and returns the public
// addresses that they name.
func checkCommands(t *testing.T, service map[string][]string) (listen []string) {
	t.Helper()
	for _, line := range append(service["ExecStart"], service["ExecReload"]...) {
		words := strings.Fields(line)
		root := newCLI([]string{t.TempDir()}, strings.NewReader(""), io.Discard, io.Discard, nil).rootCommand()
		verb, rest, err := root.Find(words[1:])
		if err == nil {
			err = verb.ParseFlags(rest)
		}
		if err != nil || words[0] != "/usr/local/bin/tideover" || !verb.HasParent() {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if addresses, err := verb.Flags().GetStringArray("listen"); err == nil {
			listen = append(listen, addresses...)
		}
	}
	return listen
}
