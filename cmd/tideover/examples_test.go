package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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

// The units are hardened as far as the README of the examples says. Where systemd-analyze is
// missing, the directives with the largest part in that are looked for.
func TestExposureOfTheUnits(t *testing.T) {
	t.Parallel()
	dir := "../../examples/systemd/"
	for _, c := range []struct {
		unit, dropIn string
		most         float64
	}{
		{dir + "tideover.service", "", 4.5},
		{dir + "tideover.service", dir + "hardened.conf", 4},
		{dir + "one-app/shop.service", "", 2.5},
	} {
		set := values(t, c.unit)
		for _, name := range []string{"CapabilityBoundingSet", "SystemCallFilter", "RestrictAddressFamilies", "RestrictNamespaces", "PrivateDevices", "ProtectProc"} {
			if _, ok := set[name]; !ok {
				t.Errorf("%s has no %s=", c.unit, name)
			}
		}
		if name, has := "MemoryDenyWriteExecute", set["MemoryDenyWriteExecute"]; has != nil {
			t.Errorf("%s: %s= breaks cffi, numba and PyPy", c.unit, name)
		}
		analyze, err := exec.LookPath("systemd-analyze")
		if err != nil {
			continue
		}
		root, name := t.TempDir(), filepath.Base(c.unit)
		units := filepath.Join(root, "etc/systemd/system")
		must(t, os.MkdirAll(filepath.Join(units, name+".d"), 0o755))
		copyFile(t, c.unit, filepath.Join(units, name))
		if c.dropIn != "" {
			copyFile(t, c.dropIn, filepath.Join(units, name+".d/hardened.conf"))
		}
		out, err := exec.Command(analyze, "security", "--no-pager", "--offline=yes", "--root="+root, name).CombinedOutput()
		if err != nil {
			t.Logf("systemd-analyze does not know what it is asked: %v\n%s", err, out) // before 250
			continue
		}
		found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("%s", out)
		}
		if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > c.most {
			t.Errorf("%s %s: exposure %s, at most %v\n%s", c.unit, c.dropIn, found[1], c.most, out)
		}
		if strings.Contains(string(out), "ignoring") {
			t.Errorf("systemd %s\n%s", name, out)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o644))
}
