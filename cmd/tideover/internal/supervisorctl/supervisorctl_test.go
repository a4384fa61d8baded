package supervisorctl

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// supervisord is a fake on a unix socket: it has one process, shop.
func supervisord(t *testing.T, password string) (url string, asked *[]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	asked = &[]string{}
	info := xmlrpc.Struct{"group": "shop", "name": "shop", "statename": "RUNNING", "state": 20, "description": "pid 11, uptime 0:00:03", "pid": 11}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c, err := xmlrpc.ReadCall(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		method := strings.TrimPrefix(c.Method, "supervisor.")
		*asked = append(*asked, method)
		var v xmlrpc.Value = true
		switch {
		case method == "getVersion":
			v = "3.0"
		case method == "getAllProcessInfo":
			v = []any{info}
		case method == "getAllConfigInfo":
			v = []any{xmlrpc.Struct{"group": "shop", "name": "shop", "inuse": true}, xmlrpc.Struct{"group": "new", "name": "new_00", "inuse": false}}
		case method == "reloadConfig":
			v = []any{[]any{[]any{"new"}, []any{"shop"}, []any{"old"}}}
		case method == "stopProcessGroup":
			v = []any{xmlrpc.Struct{"group": "shop", "name": "shop", "status": 80, "description": "OK"}}
		case strings.HasSuffix(method, "Process") && c.Params[0] != "shop":
			v = &xmlrpc.Fault{Code: supervisordrpc.BadName, Text: "BAD_NAME: x"}
		case method == "startProcess":
			v = &xmlrpc.Fault{Code: supervisordrpc.SpawnError, Text: "SPAWN_ERROR: shop"}
		}
		w.Write(xmlrpc.Response(v))
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "unix://" + path, asked
}

func run(t *testing.T, stdin string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errors strings.Builder
	exit = Run(t.Context(), "supervisorctl", args, strings.NewReader(stdin), &out, &errors, nil)
	return exit, out.String(), errors.String()
}

func TestLinesAndExitCodesAreThoseOfSupervisorctl(t *testing.T) {
	url, _ := supervisord(t, "")
	for _, c := range []struct {
		args []string
		exit int
		out  string
	}{
		{[]string{"status"}, 0, "shop                             RUNNING   pid 11, uptime 0:00:03\n"},
		{[]string{"status", "none"}, 4, "none: ERROR (no such process)\n"},
		{[]string{"status", "none:*"}, 4, "none: ERROR (no such group)\n"},
		{[]string{"stop", "shop"}, 0, "shop: stopped\n"},
		{[]string{"stop", "none"}, 1, "none: ERROR (no such process)\n"},
		{[]string{"start", "shop"}, 7, "shop: ERROR (spawn error)\n"},
		{[]string{"restart", "shop"}, 7, "shop: stopped\nshop: ERROR (spawn error)\n"},
		{[]string{"signal", "HUP", "shop"}, 0, "shop: signalled\n"},
		{[]string{"reread"}, 0, "new: available\nold: disappeared\nshop: changed\n"},
		{[]string{"update"}, 0, "old: stopped\nold: removed process group\nshop: stopped\nshop: updated process group\nnew: added process group\n"},
		{[]string{"update", "new", "none"}, 1, "ERROR: no such group: none\nnew: added process group\n"},
		{[]string{"shutdown"}, 0, "Shut down\n"},
		{[]string{"nonsense", "x"}, 1, "*** Unknown syntax: nonsense x\n"},
	} {
		exit, out, errors := run(t, "", append([]string{"-s", url}, c.args...)...)
		if exit != c.exit || out != c.out || errors != "" {
			t.Errorf("%v: %d %q %q", c.args, exit, out, errors)
		}
	}
}

func TestUpdateStopsRemovesAndAddsInTheOrderOfSupervisorctl(t *testing.T) {
	url, asked := supervisord(t, "")
	run(t, "", "-s", url, "update")
	want := []string{"reloadConfig", "stopProcessGroup", "removeProcessGroup", "stopProcessGroup", "removeProcessGroup", "addProcessGroup", "addProcessGroup"}
	if !slices.Equal(*asked, want) {
		t.Errorf("asked for %v", *asked)
	}
}

func TestTheShellRunsWhatIsTyped(t *testing.T) {
	url, _ := supervisord(t, "")
	exit, out, _ := run(t, "stop shop\n\nfoo\nshutdown\nn\nquit\nstatus\n", "-s", url)
	want := "shop                             RUNNING   pid 11, uptime 0:00:03\nsupervisor> shop: stopped\nsupervisor> supervisor> *** Unknown syntax: foo\n" +
		"supervisor> Really shut the remote supervisord process down y/N? supervisor> \n"
	if exit != 0 || out != want {
		t.Errorf("%d %q", exit, out)
	}
}

func TestAPasswordIsSentOrAskedFor(t *testing.T) {
	url, _ := supervisord(t, "secret")
	if exit, out, _ := run(t, "", "-s", url, "-u", "a", "-p", "secret", "stop", "shop"); exit != 0 || out != "shop: stopped\n" {
		t.Errorf("%d %q", exit, out)
	}
	if exit, out, _ := run(t, "", "-s", url, "stop", "shop"); exit != 1 || out != "Server requires authentication\n" {
		t.Errorf("%d %q", exit, out)
	}
	exit, out, _ := run(t, "a\nsecret\nstop shop\n", "-s", url)
	if exit != 0 || !strings.HasSuffix(out, "supervisor> shop: stopped\nsupervisor> \n") {
		t.Errorf("%d %q", exit, out)
	}
}

func TestTheConfigurationFileNamesTheServer(t *testing.T) {
	url, _ := supervisord(t, "secret")
	dir := t.TempDir()
	path := filepath.Join(dir, "supervisord.conf")
	if err := os.WriteFile(path, []byte("[supervisorctl]\nserverurl = "+url+" ; here\nusername = a\npassword = secret\nprompt = host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, out, errors := run(t, "", "-c", path, "stop", "shop"); exit != 0 || out != "shop: stopped\n" {
		t.Errorf("%d %q %q", exit, out, errors)
	}
	if _, out, _ := run(t, "", "-c", path); !strings.HasSuffix(out, "\nhost> \n") {
		t.Errorf("%q", out)
	}
}

func TestWrongArgumentsAreSaid(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.conf")
	if err := os.WriteFile(empty, []byte("[x]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"option -q not recognized": {"-q"}, "option --none not recognized": {"--none"}, "option -s requires argument": {"-s"},
		"option --serverurl requires argument": {"--server"}, "option --help must not have an argument": {"--help=1"},
		"invalid value for -s 'foo': value 'foo' is not a URL": {"-s", "foo", "status"},
		"could not find config file /none":                     {"-c", "/none", "status"},
		".ini file does not include supervisorctl section":     {"-c", empty, "status"},
	} {
		exit, _, errors := run(t, "", args...)
		if exit != 2 || errors != "Error: "+want+"\nFor help, use supervisorctl -h\n" {
			t.Errorf("%v: %d %q", args, exit, errors)
		}
	}
	if exit, out, _ := run(t, "", "-s", "unix:///none", "status"); exit != 4 || out != "unix:///none no such file\n" {
		t.Errorf("%d %q", exit, out)
	}
	if exit, out, _ := run(t, "", "-s", "unix:///none", "stop", "a"); exit != 7 || out != "unix:///none no such file\n" {
		t.Errorf("%d %q", exit, out)
	}
}

func TestCompletionListsWhatMayFollow(t *testing.T) {
	url, _ := supervisord(t, "")
	for words, want := range map[string]string{
		"re":             "reload remove reread restart :4",
		"help sta":       "start status :4",
		"stop ":          "shop all :4",
		"stop shop ":     "all :4",
		"restart sh":     "shop :4",
		"signal US":      "USR1 USR2 :4",
		"signal HUP sh":  "shop :4",
		"tail -":         "-f :4",
		"tail -f sh":     "shop :4",
		"tail shop ":     "stdout stderr :4",
		"add ":           "new :4",
		"remove ":        "shop :4",
		"update ":        "shop new all :4",
		"version ":       ":4",
		"none ":          ":4",
		"--se":           "--serverurl :4",
		"-s ":            ":4",
		"-c ":            ":0",
		"--nonsense st":  ":4",
		"-c /none stop ": ":4",
	} {
		args := append([]string{"__complete", "-s", url}, strings.Split(words, " ")...)
		exit, out, errors := run(t, "", args...)
		if got := strings.Join(strings.Fields(out), " "); exit != 0 || got != want || errors != "" {
			t.Errorf("%q: %d %q %q, not %q", words, exit, got, errors, want)
		}
	}
}

func TestCompletionWithoutAServerListsVerbs(t *testing.T) {
	none := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	for word, want := range map[string]string{"stat": "status\n:4\n", "stop ": "all\n:4\n"} {
		exit, out, errors := run(t, "", append([]string{"__complete", "-s", none}, strings.Split(word, " ")...)...)
		if exit != 0 || out != want || errors != "" {
			t.Errorf("%q: %d %q %q", word, exit, out, errors)
		}
	}
}
