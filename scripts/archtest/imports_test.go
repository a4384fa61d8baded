package archtest

import (
	"slices"
	"strings"
	"testing"
)

const module = "tideover"

// walls lists every package of the product, and for each the packages of this
// module that it may import. Imports point down: cmd, control, supervisor,
// leaves. A leaf imports no package of this module, so it cannot call back into
// the supervisor, and no request can wait for one of the supervisor's locks.
var walls = map[string][]string{
	"cmd/tideover": {"supervisor/lazyregexp", "cmd/tideover/internal/daemon", "cmd/tideover/internal/doctor", "cmd/tideover/internal/move", "cmd/tideover/internal/project",
		"cmd/tideover/internal/supervisorctl", "cmd/tideover/internal/term", "cmd/tideover/internal/top", "listener",
		"supervisor/admin", "supervisor/api", "supervisor/config", "supervisor/control", "supervisor/fleet", "supervisor/fleet/etcd", "supervisor/handoff", "supervisor/logs",
		"supervisor/monitor", "supervisor/process", "supervisor/safepath", "supervisor/supervisordconf"},
	"cmd/tideover/internal/daemon": {"cmd/tideover/internal/term", "proxy/awake",
		"supervisor", "supervisor/admin", "supervisor/api", "supervisor/config", "supervisor/confine", "supervisor/control", "supervisor/fleet", "supervisor/handoff", "supervisor/logs",
		"supervisor/monitor", "supervisor/process", "supervisor/relay", "supervisor/safepath", "supervisor/threads", "listener"},
	"cmd/tideover/internal/move": {"supervisor/api", "supervisor/config", "supervisor/control", "supervisor/process", "supervisor/safepath",
		"supervisor/supervisordconf", "supervisor/supervisordrpc"},
	"cmd/tideover/internal/project": {"supervisor/lazyregexp", "supervisor/config", "supervisor/gunicorn", "supervisor/process", "supervisor/safepath", "supervisor/servers",
		"supervisor/supervisordconf"},
	"cmd/tideover/internal/doctor": {"supervisor/lazyregexp", "supervisor/api", "supervisor/config"},
	"cmd/tideover/internal/term":   {"supervisor/lazyregexp"},
	"cmd/tideover/internal/top":    {"supervisor/api", "supervisor/logs", "supervisor/trend"},

	"cmd/tideover/internal/supervisorctl": {"supervisor/supervisordconf", "supervisor/supervisordrpc", "supervisor/xmlrpc"},

	"supervisor/admin":   {"listener", "supervisor/fleet", "supervisor/fleet/etcd", "supervisor/fleet/member", "supervisor/admin/page", "supervisor/admin/supervisord", "supervisor/api", "supervisor/confine", "supervisor/control", "supervisor/pathwatch"},
	"supervisor/metrics": {"proxy", "proxy/remote", "supervisor/api"},
	"supervisor/control": {"supervisor/api", "supervisor/logs", "supervisor/pathwatch"},

	"supervisor": {"proxy/awake", "proxy/connlimit", "proxy/remote", "proxy/spool", "listener", "supervisor/api", "supervisor/config", "supervisor/filewatch", "supervisor/generation",
		"supervisor/gunicorn", "supervisor/handoff", "supervisor/history", "supervisor/logs", "supervisor/metrics", "supervisor/pathwatch", "supervisor/process", "supervisor/relay", "supervisor/safepath", "supervisor/state"},
	"supervisor/generation": {"supervisor/lazyregexp", "proxy/awake", "proxy/remote", "listener", "supervisor/api", "supervisor/config", "supervisor/gunicorn", "supervisor/servers",
		"supervisor/handoff", "supervisor/logs", "supervisor/process", "supervisor/safepath", "supervisor/state"},
	"supervisor/handoff":         {"proxy/remote", "supervisor/api", "supervisor/config", "supervisor/gunicorn", "supervisor/logs", "supervisor/process"},
	"supervisor/history":         {"supervisor/api", "supervisor/safepath"},
	"supervisor/filewatch":       {"supervisor/config", "supervisor/safepath"},
	"supervisor/state":           {"supervisor/api", "supervisor/process"},
	"supervisor/supervisordconf": {"supervisor/lazyregexp", "supervisor/config", "supervisor/gunicorn", "supervisor/servers", "supervisor/shellwords"},
	"supervisor/config":          {"supervisor/lazyregexp", "proxy/accesslog", "supervisor/fleet", "supervisor/gunicorn", "supervisor/process", "supervisor/safepath", "supervisor/servers", "supervisor/shellwords"},
	"supervisor/servers":         {"supervisor/lazyregexp", "supervisor/gunicorn"},
	"supervisor/gunicorn":        {"supervisor/lazyregexp", "supervisor/shellwords"},
	"supervisor/api":             {},
	"supervisor/trend":           {"supervisor/api"},
	"supervisor/fleet":           {},
	"supervisor/fleet/etcd":      {"supervisor/fleet"},
	"supervisor/fleet/member":    {"supervisor/api", "supervisor/fleet", "supervisor/fleet/etcd"},
	"supervisor/monitor":         {"supervisor/threads", "supervisor/zombie"},
	"supervisor/threads":         {},
	"supervisor/lazyregexp":      {},
	"supervisor/zombie":          {},
	"supervisor/pathwatch":       {},
	"supervisor/logs":            {"supervisor/safepath"},
	"supervisor/safepath":        {"supervisor/process"},
	"supervisor/process":         {"proxy/awake", "supervisor/zombie"},
	"supervisor/supervisordrpc":  {},
	"supervisor/shellwords":      {},
	"supervisor/confine":         {},
	"supervisor/xmlrpc":          {},

	"supervisor/admin/page":        {"supervisor/api", "supervisor/logs", "supervisor/trend"},
	"supervisor/admin/supervisord": {"supervisor/api", "supervisor/supervisordrpc", "supervisor/xmlrpc"},

	"proxy":        {"proxy/accesslog", "proxy/awake", "proxy/connlimit", "proxy/gate", "proxy/http1", "proxy/netpoll", "proxy/proxyproto", "proxy/spool"},
	"proxy/remote": {"listener", "proxy", "proxy/awake", "proxy/connlimit", "proxy/gate", "proxy/spool", "proxy/remote/remotetest"},

	"proxy/remote/remotetest": {"proxy/remote"},

	"proxy/connlimit":  {},
	"proxy/accesslog":  {},
	"proxy/spool":      {},
	"proxy/awake":      {},
	"proxy/proxyproto": {},
	"proxy/gate":       {"proxy/awake"},
	"proxy/netpoll":    {},
	"proxy/http1":      {},
	"listener":         {},

	"proxy/remote/channel": {"proxy/awake"},
	"proxy/remote/rpc":     {"proxy/awake", "proxy/remote", "proxy/remote/channel", "proxy/remote/remotetest"},
	"supervisor/relay": {"listener", "proxy/awake", "proxy/connlimit", "proxy/remote", "proxy/remote/channel", "proxy/remote/remotetest", "proxy/remote/rpc", "proxy/spool", "supervisor/handoff",
		"supervisor/confine", "supervisor/process", "supervisor/threads"},
}

// testImports are the packages that every test of the product may import too.
var testImports = []string{"scripts/httpgen", "scripts/testenv"}

// testWalls are the packages that the tests of a package may import too.
var testWalls = map[string][]string{
	"supervisor":         {"proxy/gate"},          // the relay is simulated
	"supervisor/confine": {"proxy", "proxy/gate"}, // the relay runs inside
	"supervisor/relay":   {"listener"},            // it reaches a private socket
	"supervisor/admin":   {"supervisor/xmlrpc"},
	"cmd/tideover":       {"supervisor/xmlrpc"}, // what supervisorctl's completion asks
}

// places lists the third-party modules, and for each the packages that may
// import it ("*": all), so that a module can be replaced by a change of one
// package.
var places = map[string][]string{
	"github.com/BurntSushi/toml":               {"supervisor/config"},
	"github.com/hashicorp/go-envparse":         {"supervisor/config"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"supervisor/config"}, // tests of the JSON Schema
	"github.com/fsnotify/fsnotify":             {"supervisor/filewatch"},
	"github.com/spf13/cobra":                   {"cmd/tideover"},
	"github.com/spf13/pflag":                   {"cmd/tideover"},
	"charm.land":                               {"cmd/tideover/internal/top"},
	"github.com/charmbracelet":                 {"cmd/tideover/internal/top"},
	"golang.org/x/term":                        {"cmd/tideover/internal/term"},
	"github.com/rogpeppe/go-internal":          {"cmd/tideover"},
	"github.com/coreos/go-systemd/v22/daemon":  {"cmd/tideover/internal/daemon"},
	"github.com/coreos/go-systemd/v22/journal": {"cmd/tideover/internal/daemon"},
	"github.com/coreos/go-systemd/v22/unit":    {"cmd/tideover"}, // tests of the example units
	"github.com/elastic/go-seccomp-bpf":        {"supervisor/confine"},
	"github.com/landlock-lsm/go-landlock":      {"supervisor/confine"},
	"kernel.org/pub/linux/libs/security":       {"supervisor/confine"},
	"github.com/prometheus":                    {"supervisor/metrics"},
	"github.com/hashicorp/go-hclog":            {"*"},
	"golang.org/x/sys":                         {"*"},
}

// pure lists the packages that compute and wait, and reach nothing outside the
// process: a fake clock covers them whole.
var pure = []string{"proxy/awake", "proxy/gate", "supervisor/fleet"}

// outside lists the packages of the standard library that reach outside the
// process, with all below them.
var outside = []string{"net", "os", "syscall", "unsafe"}

// A pure package imports no network, no files and no third party.
func TestPurePackagesReachNothingOutside(t *testing.T) {
	for _, f := range repository(t) {
		if !slices.Contains(pure, f.folder()) || f.isTest() {
			continue
		}
		for spec, path := range f.imports {
			top, _, _ := strings.Cut(path, "/")
			if slices.Contains(outside, top) || strings.Contains(top, ".") {
				t.Errorf("%s: %s is pure and must not import %s", f.at(spec), f.folder(), path)
			}
		}
	}
}

// A package of the product imports only what walls allows it.
func TestImportsPointDown(t *testing.T) {
	for _, f := range repository(t) {
		for spec, path := range f.imports {
			imported, ours := strings.CutPrefix(path, module+"/")
			if !ours || imported == f.folder() || mayImport(f, imported) {
				continue
			}
			t.Errorf("%s: %s must not import %s", f.at(spec), f.folder(), imported)
		}
	}
}

// mayImport reports whether f may import the package in imported. Scripts import
// no package of the product: they use the program as users do.
func mayImport(f file, imported string) bool {
	if strings.HasPrefix(f.path, "scripts/") {
		return strings.HasPrefix(imported, "scripts/")
	}
	return slices.Contains(walls[f.folder()], imported) ||
		f.isTest() && (slices.Contains(testImports, imported) || slices.Contains(testWalls[f.folder()], imported))
}

// A new package gets an entry in walls, and with it a position in the layout.
func TestPackagesAreListed(t *testing.T) {
	for _, f := range repository(t) {
		_, listed := walls[f.folder()]
		if !listed && !strings.HasPrefix(f.path, "scripts/") && !strings.HasPrefix(f.path, "examples/") {
			t.Errorf("%s: package %s is not listed in walls of scripts/archtest", f.path, f.folder())
		}
	}
}

// A third-party module is imported only by the packages that places names.
func TestThirdPartyImportsAreInTheirPlace(t *testing.T) {
	for _, f := range repository(t) {
		for spec, path := range f.imports {
			if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
				continue // the standard library, or this module
			}
			allowed, listed := placeOf(path)
			switch {
			case !listed:
				t.Errorf("%s: %s is not listed in places of scripts/archtest; add it with the reason in the commit", f.at(spec), path)
			case !slices.Contains(allowed, "*") && !slices.Contains(allowed, f.folder()):
				t.Errorf("%s: %s may be imported by %s only", f.at(spec), path, strings.Join(allowed, ", "))
			}
		}
	}
}

// placeOf returns the packages that may import path, and whether its module is
// listed.
func placeOf(path string) (allowed []string, listed bool) {
	for party, allowed := range places {
		if path == party || strings.HasPrefix(path, party+"/") {
			return allowed, true
		}
	}
	return nil, false
}

// The file that imports fsnotify is the only one that knows its events.
func TestFsnotifyIsImportedByOneFile(t *testing.T) {
	var files []string
	for _, f := range repository(t) {
		for _, path := range f.imports {
			if path == "github.com/fsnotify/fsnotify" {
				files = append(files, f.path)
			}
		}
	}
	if len(files) > 1 {
		t.Errorf("fsnotify is imported by %s; one file is enough", strings.Join(files, ", "))
	}
}
