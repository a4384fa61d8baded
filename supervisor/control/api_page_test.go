package control

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

var update = flag.Bool("update", false, "write API.md anew")

// routePage is what API.md says of a route beside its method, its path and its role.
type routePage struct {
	about   string
	request any    // nil: none, or the parameter app
	answer  any    // nil: an empty object
	stream  bool   // JSON lines, of which the last one is the answer
	curl    string // behind the socket and the path
}

var routePages = map[string]routePage{
	"/v1/status":   {"The state of all apps, or of those that `?app=NAME` selects; it can be repeated.", nil, api.Status{}, false, "'http://t/v1/status?app=shop'"},
	"/metrics":     {"What the daemon counts, in the text format of Prometheus. It is the same text as on `daemon.admin`.", nil, metricsText(""), false, "http://t/metrics"},
	"/v1/check":    {"The same, with the answer of each app to its readiness probe (`answers`, `answer`).", nil, api.Status{}, false, "http://t/v1/check"},
	"/v1/logs":     {"Lines of the apps' output, or of tideover's own log. With `follow` it goes on until the client leaves.", api.LogQuery{}, logs.Line{}, true, `-d '{"apps":["shop"],"lines":20}' http://t/v1/logs`},
	"/v1/history":  {"What has happened, as records, the oldest first. With `follow` it goes on until the client leaves: `after` is the id of the last record that it has got before. A viewer gets them without what the app has written.", api.HistoryQuery{}, api.Record{}, true, `-N -d '{"apps":["shop"],"follow":true}' http://t/v1/history`},
	"/v1/reload":   {"Starts the new code and stops the old one when the new one answers.", api.Request{}, api.Result{}, true, `-d '{"app":"shop"}' http://t/v1/reload`},
	"/v1/restart":  {"Stops the app and starts it; requests are held meanwhile.", api.Request{}, api.Result{}, true, `-d '{"app":"shop"}' http://t/v1/restart`},
	"/v1/rollback": {"Has the symlink of the release lead to the one before, and reloads.", api.Request{}, api.Result{}, true, `-d '{"app":"shop"}' http://t/v1/rollback`},
	"/v1/start":    {"Starts an app that was stopped.", api.Request{}, api.Result{}, true, `-d '{"app":"shop"}' http://t/v1/start`},
	"/v1/stop":     {"Drains and stops an app; clients get 503.", api.Request{}, api.Result{}, true, `-d '{"app":"shop"}' http://t/v1/stop`},
	"/v1/apply":    {"Reads the configuration again and applies it.", api.ApplyRequest{}, api.ApplyResult{}, true, `-d '{"dry_run":true}' http://t/v1/apply`},
	"/v1/hold": {"Holds the requests of an app. The event `held` comes when those in flight have finished. With `attached` the hold ends with the connection, and `ended` reports it.",
		holdRequest{}, api.HoldReport{}, true, `-d '{"app":"shop","for_s":30}' http://t/v1/hold`},
	"/v1/release": {"Ends a hold.", appRequest{}, api.HoldReport{}, false, `-d '{"app":"shop"}' http://t/v1/release`},
	"/v1/drain": {"Has readiness, hold.alive and the agent-check of an app ask load balancers for no new request, for a time or until /v1/undrain. Requests are served.",
		drainRequest{}, api.DrainReport{}, false, `-d '{"app":"shop","for_s":600}' http://t/v1/drain`},
	"/v1/undrain":  {"Ends that.", appRequest{}, api.DrainReport{}, false, `-d '{"app":"shop"}' http://t/v1/undrain`},
	"/v1/signal":   {"Sends a signal, by its number, to the main process of an app.", signalRequest{}, nil, false, `-d '{"app":"shop","signal":10}' http://t/v1/signal`},
	"/v1/listen":   {"Opens the public addresses of an app, for a move from another supervisor.", listenRequest{}, nil, false, `-d '{"app":"shop"}' http://t/v1/listen`},
	"/v1/unlisten": {"Gives the public addresses of an app up, for a move back.", unlistenRequest{}, nil, false, `-d '{"app":"shop"}' http://t/v1/unlisten`},
	"/v1/programs": {"The apps as clients of supervisord see them, by group and process; with `?configured=true` those of the configuration file.", nil, programList{}, false, "http://t/v1/programs"},
	"/v1/log-text": {"Bytes of an app's output, or of tideover's own log, as far as they are in memory. `text` is base64.", api.LogTextQuery{}, api.LogText{}, false,
		`-d '{"app":"shop","offset":-1600}' http://t/v1/log-text`},
	"/v1/clear-log":    {"Makes that text begin with the next line.", appRequest{}, nil, false, `-d '{"app":"shop"}' http://t/v1/clear-log`},
	"/v1/reread":       {"The groups that an apply would add, change and remove.", struct{}{}, api.Reread{}, false, `-d '{}' http://t/v1/reread`},
	"/v1/add-group":    {"Makes the apps of one group what the configuration file says, and starts them.", groupRequest{}, nil, false, `-d '{"group":"shop"}' http://t/v1/add-group`},
	"/v1/remove-group": {"Takes the apps of a group away, which must be stopped; their public sockets are kept for hold.timeout.", groupRequest{}, nil, false, `-d '{"group":"shop"}' http://t/v1/remove-group`},
	"/v1/renew":        {"Begins to apply the configuration and to reload every app, as SIGHUP.", struct{}{}, nil, false, `-d '{}' http://t/v1/renew`},
	"/v1/fleet":        {"What this host knows of the other hosts with which it takes turns.", nil, api.Fleet{}, false, "http://t/v1/fleet"},
	"/v1/fleet-report": {"Says that.", api.Fleet{}, nil, false, `-d '{"group":"shop","host":"web1","hosts":[],"members":0}' http://t/v1/fleet-report`},
	"/v1/turn":         {"Lets the reloads begin that wait for a turn of this host (`fleet.local`), and answers when they have ended.", struct{}{}, nil, false, `-d '{}' http://t/v1/turn`},
	"/v1/upgrade":      {"Starts another program in the place of the daemon's; the apps, sockets and requests stay. Only a failure is answered: else the connection ends, and `upgrade` of the status has the outcome by its `id`.", api.UpgradeRequest{}, nil, false, `-d '{"id":"1"}' http://t/v1/upgrade`},
	"/v1/shutdown":     {"Drains, stops all apps, and ends the daemon.", shutdownRequest{}, nil, true, `-d '{}' http://t/v1/shutdown`},
}

const pageHead = `# The control API

HTTP/1.1 and JSON on the control socket of a daemon: ` + "`/run/tideover/control.sock`" + ` of root, ` + "`$XDG_RUNTIME_DIR/tideover/control.sock`" + ` of other users,
` + "`NAME.sock`" + ` beside it for ` + "`tideover run -- COMMAND`" + `. There is no TCP. The daemon asks the kernel which user has connected (SO_PEERCRED): root and
the daemon's own user may use every path (*admin*), members of ` + "`daemon.socket_group`" + ` those marked *operator*,
*reader* or *viewer*. The admin process is a viewer; where it answers clients of supervisord it is a reader, or a *supervisor*, which may use all but *admin*. A request
of the page on ` + "`" + `daemon.admin` + "`" + ` that shows the token of ` + "`" + `[daemon.admin_auth]` + "`" + ` may use those marked *page*, and the process itself those marked *member* where there is a fleet. A connection has one request.

Version 1, as the paths say: keys may be added, and none is changed or removed. Unknown keys of a request are errors. Durations are seconds, times are RFC 3339.

` + "```sh" + `
curl --unix-socket /run/tideover/control.sock http://t/v1/status
curl --unix-socket /run/tideover/control.sock -N -d '{"app":"shop"}' http://t/v1/reload
` + "```" + `

Paths whose answer is a *stream* send JSON lines (events) while the operation runs; curl shows them at once with ` + "`-N`" + `. Each line has one of the keys below; the last one is the
answer. An operation goes on when its client leaves. An error is ` + "`{\"error\":{...}}`" + ` in a stream, else the object itself with the HTTP status of its exit code:
400 usage (2), 403 denied (4), 404 no such app (6), 409 not running (3) or busy (9), 422 config (5), 500 others.

This page is made of the table of routes and the types: ` + "`go test ./supervisor/control -run TestAPIPage -update`" + `.

`

// API.md has every route with its role, its request and its answer, as they are in the code.
func TestAPIPage(t *testing.T) {
	t.Parallel()
	p := &apiPage{comments: fieldComments(t), seen: map[string]bool{}}
	p.WriteString(pageHead)
	p.WriteString("| path | role | answer | |\n|---|---|---|---|\n")
	for _, r := range routes() {
		page, ok := routePages[r.path]
		if !ok {
			t.Fatalf("%s is not in routePages", r.path)
		}
		role := map[role]string{roleViewer: "viewer", roleReader: "reader", roleOperator: "operator", roleSupervisor: "supervisor", roleAdmin: "admin"}[r.minRole]
		if r.marks&forPage != 0 {
			role += ", page"
		}
		if r.marks&ofMember != 0 {
			role = "member"
		}
		fmt.Fprintf(p, "| `%s %s` | %s | %s | %s |\n", r.method, r.path, role, answerOf(page), page.about)
	}
	p.WriteString("\n## Requests\n")
	for _, r := range routes() {
		page := routePages[r.path]
		fmt.Fprintf(p, "\n### %s %s\n\n```sh\ncurl --unix-socket /run/tideover/control.sock %s\n```\n", r.method, r.path, page.curl)
		if page.request != nil {
			p.fields(reflect.TypeOf(page.request), "verb", "by") // the daemon sets them
		}
	}
	p.WriteString("\n## Answers\n")
	p.table("Events of a stream", reflect.TypeFor[event]())
	for len(p.todo) > 0 {
		next := p.todo[0]
		p.todo = p.todo[1:]
		p.table(next.Name(), next)
	}
	if *update {
		if err := os.WriteFile("API.md", []byte(p.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if written, err := os.ReadFile("API.md"); err != nil || string(written) != p.String() {
		t.Errorf("API.md is not what the code says (%v): go test ./supervisor/control -run TestAPIPage -update", err)
	}
}

// metricsText stands for the one answer that is no JSON.
type metricsText string

func answerOf(page routePage) string {
	name := "`{}`"
	if _, text := page.answer.(metricsText); text {
		name = "text"
	} else if page.answer != nil {
		name = reflect.TypeOf(page.answer).Name()
	}
	if page.stream {
		name += ", stream"
	}
	return name
}

// apiPage writes API.md.
type apiPage struct {
	strings.Builder
	comments map[string]string // by Type.Field
	seen     map[string]bool   // names of types
	todo     []reflect.Type    // types that are not written yet
}

func (p *apiPage) table(title string, t reflect.Type) {
	fmt.Fprintf(p, "\n### %s\n", title)
	p.fields(t)
}

// fields writes a table of the keys of a type, without those that are left out.
func (p *apiPage) fields(t reflect.Type, without ...string) {
	p.WriteString("\n| key | type | |\n|---|---|---|\n")
	written := map[string]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		var embedded []reflect.Type
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				embedded = append(embedded, f.Type)
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" || written[name] || slices.Contains(without, name) {
				continue
			}
			written[name] = true
			comment := p.comments[t.Name()+"."+f.Name]
			if comment == "" && f.Name == "For" {
				comment = "how long"
			}
			fmt.Fprintf(p, "| `%s` | %s | %s |\n", name, p.typeName(f.Type), strings.ReplaceAll(comment, "|", "\\|"))
		}
		for _, e := range embedded {
			walk(e)
		}
	}
	walk(t)
}

// typeName is the JSON type of a Go type.
func (p *apiPage) typeName(t reflect.Type) string {
	switch {
	case t.String() == "time.Time":
		return "time"
	case t == reflect.TypeFor[seconds]():
		return "seconds"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return p.typeName(t.Elem())
	case reflect.Slice:
		return "array of " + p.typeName(t.Elem())
	case reflect.Struct:
		if !p.seen[t.Name()] {
			p.seen[t.Name()] = true
			p.todo = append(p.todo, t)
		}
		return t.Name()
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "string"
	}
	return "number"
}

// fieldComments reads the comments of the fields of all types of the API.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../api/*.go", "*.go", "../logs/*.go"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for n := range ast.Preorder(tree) {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if fields, ok := spec.Type.(*ast.StructType); ok {
					for _, f := range fields.Fields.List {
						for _, name := range f.Names {
							text := f.Comment.Text()
							if text == "" {
								text = f.Doc.Text()
							}
							all[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
						}
					}
				}
			}
		}
	}
	return all
}
