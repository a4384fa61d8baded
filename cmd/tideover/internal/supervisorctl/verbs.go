package supervisorctl

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// verbs are the commands. Each gets the rest of its line.
func verbs() map[string]func(s *shell, arg string) error {
	return map[string]func(s *shell, arg string) error{
		"help": (*shell).help, "EOF": (*shell).quit, "quit": (*shell).quit, "exit": (*shell).quit,
		"status": (*shell).status, "pid": (*shell).pid, "version": (*shell).version, "avail": (*shell).avail, "open": (*shell).open,
		"start": (*shell).start, "stop": (*shell).stop, "restart": (*shell).restart, "signal": (*shell).signal,
		"reread": (*shell).reread, "add": (*shell).add, "remove": (*shell).remove, "update": (*shell).update, "reload": (*shell).reload, "shutdown": (*shell).shutdown,
		"tail": (*shell).tail, "maintail": (*shell).maintail, "clear": (*shell).clear, "fg": (*shell).fg,
	}
}

func (s *shell) quit(string) error {
	s.say("")
	s.ended = true
	return nil
}

func (s *shell) call(method string, params ...xmlrpc.Value) (xmlrpc.Value, error) {
	return s.client.call(s.ctx, method, params...)
}

const apiVersion = "3.0"

// isUp asks the server for its version. After false there is nothing more to do.
func (s *shell) isUp() (bool, error) {
	v, err := s.call("getVersion")
	switch {
	case err == nil && v != apiVersion:
		s.fail(exitNotInstalled, "Sorry, this version of supervisorctl expects to talk to a server with API version %s, but the remote version is %v.", apiVersion, v)
		return false, nil
	case err == nil:
		return true, nil
	case faultCode(err) == supervisordrpc.UnknownMethod:
		s.fail(exitUnimplemented, "Sorry, supervisord responded but did not recognize the supervisor namespace commands that supervisorctl uses to control it.  "+
			"Please check that the [rpcinterface:supervisor] section is enabled in the configuration file (see sample.conf).")
		return false, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		s.fail(exitPrivileges, "%s refused connection", s.URL)
		return false, nil
	case errors.Is(err, syscall.ENOENT):
		s.fail(exitNotRunning, "%s no such file", s.URL)
		return false, nil
	}
	s.exit = exitGeneric
	return false, err
}

// result is what became of one process.
type result struct {
	group, name, description string
	status                   int
}

func (r result) process() string { return supervisordrpc.JoinName(r.group, r.name) }

func text(m xmlrpc.Value, key string) string {
	members, _ := m.(xmlrpc.Struct)
	value, _ := members[key].(string)
	return value
}

func number(m xmlrpc.Value, key string) int {
	members, _ := m.(xmlrpc.Struct)
	value, _ := members[key].(int)
	return value
}

// results are those of a method for several processes.
func results(v xmlrpc.Value) (all []result) {
	list, _ := v.([]any)
	for _, one := range list {
		all = append(all, result{text(one, "group"), text(one, "name"), text(one, "description"), number(one, "status")})
	}
	return all
}

// setExit sets the exit code for a fault. One of them is none.
func (s *shell) setExit(code, ignored int) {
	switch code {
	case ignored, supervisordrpc.Success:
	case supervisordrpc.SpawnError, supervisordrpc.AbnormalTermination, supervisordrpc.NotRunning:
		s.exit = exitNotRunning
	default:
		s.exit = exitGeneric
	}
}

var stoppedStates = []int{0, 100, 200, 1000}

func (s *shell) status(arg string) error {
	up, err := s.isUp()
	if !up {
		if err == nil {
			s.exit = exitStatusUnknown
		}
		return err
	}
	v, err := s.call("getAllProcessInfo")
	if err != nil {
		return err
	}
	all, _ := v.([]any)
	names := strings.Fields(arg)
	matching := all
	if len(names) > 0 && !slices.Contains(names, "all") {
		matching = nil
		for _, name := range names {
			matching = append(matching, s.matching(all, name)...)
		}
	}
	width := 30
	for _, info := range matching {
		width = max(width, len(supervisordrpc.JoinName(text(info, "group"), text(info, "name"))))
	}
	for _, info := range matching {
		s.say("%-*s%-10s%s", width+3, supervisordrpc.JoinName(text(info, "group"), text(info, "name")), text(info, "statename"), text(info, "description"))
		if slices.Contains(stoppedStates, number(info, "state")) {
			s.exit = exitStatusDown
		}
	}
	return nil
}

// matching returns the processes of a name, and says it if there is none.
func (s *shell) matching(all []any, name string) (found []any) {
	group, process := supervisordrpc.SplitName(name)
	for _, info := range all {
		if text(info, "group") == group && (process == "" || text(info, "name") == process) {
			found = append(found, info)
		}
	}
	switch {
	case len(found) > 0:
	case process == "":
		s.fail(exitStatusUnknown, "%s: ERROR (no such group)", group)
	default:
		s.fail(exitStatusUnknown, "%s: ERROR (no such process)", name)
	}
	return found
}

func (s *shell) pid(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	names := strings.Fields(arg)
	switch {
	case len(names) == 0:
		pid, err := s.call("getPID")
		if err == nil {
			s.say("%v", pid)
		}
		return err
	case slices.Contains(names, "all"):
		v, err := s.call("getAllProcessInfo")
		all, _ := v.([]any)
		for _, info := range all {
			s.say("%d", number(info, "pid"))
		}
		return err
	}
	for _, name := range names {
		info, err := s.call("getProcessInfo", name)
		switch {
		case faultCode(err) == supervisordrpc.BadName:
			s.fail(exitGeneric, "No such process %s", name)
			continue
		case err != nil:
			return err
		}
		pid := number(info, "pid")
		s.say("%d", pid)
		if pid == 0 {
			s.exit = exitNotRunning
		}
	}
	return nil
}

// unknownResult is an error in supervisorctl's own words, which scripts compare.
func unknownResult(r result, description string) error {
	//lint:ignore ST1005 the words are supervisorctl's
	return fmt.Errorf("Unknown result code %d for %s%s", r.status, r.process(), description)
}

func startText(r result) (string, error) {
	said := map[int]string{supervisordrpc.BadName: "no such process", supervisordrpc.NoFile: "no such file", supervisordrpc.NotExecutable: "file is not executable", supervisordrpc.AlreadyStarted: "already started",
		supervisordrpc.SpawnError: "spawn error", supervisordrpc.AbnormalTermination: "abnormal termination"}[r.status]
	switch {
	case r.status == supervisordrpc.Success:
		return r.process() + ": started", nil
	case said == "":
		return "", unknownResult(r, ": "+r.description)
	}
	return fmt.Sprintf("%s: ERROR (%s)", r.process(), said), nil
}

func signalText(r result, done string) (string, error) {
	said := map[int]string{supervisordrpc.BadName: "no such process", supervisordrpc.BadSignal: "bad signal name", supervisordrpc.NotRunning: "not running"}[r.status]
	switch {
	case r.status == supervisordrpc.Success:
		return r.process() + ": " + done, nil
	case r.status == supervisordrpc.Failed:
		return r.description, nil
	case said == "":
		return "", unknownResult(r, ": "+r.description)
	}
	return fmt.Sprintf("%s: ERROR (%s)", r.process(), said), nil
}

func stopText(r result) (string, error) { return signalText(r, "stopped") }

// operation is a command on processes.
type operation struct {
	all, group, one string // methods
	params          []xmlrpc.Value
	done            string // said of one process
	text            func(result) (string, error)
	ignored         int // a fault that is no failure
	noGroup         int // exit code where there is no such group
}

func (s *shell) operate(o operation, names []string) error {
	if slices.Contains(names, "all") {
		v, err := s.call(o.all, o.params...)
		if err != nil {
			return err
		}
		return s.report(o, results(v))
	}
	for _, name := range names {
		group, process := supervisordrpc.SplitName(name)
		if process == "" {
			v, err := s.call(o.group, append([]xmlrpc.Value{group}, o.params...)...)
			switch {
			case faultCode(err) == supervisordrpc.BadName:
				s.fail(o.noGroup, "%s: ERROR (no such group)", group)
				continue
			case err != nil:
				return err
			}
			if err := s.report(o, results(v)); err != nil {
				return err
			}
			continue
		}
		_, err := s.call(o.one, append([]xmlrpc.Value{name}, o.params...)...)
		if f, ok := faultOf(err); ok {
			if err := s.report(o, []result{{group, process, f.Text, f.Code}}); err != nil {
				return err
			}
		} else if err != nil {
			return err
		} else {
			s.say("%s: %s", supervisordrpc.JoinName(group, process), o.done)
		}
	}
	return nil
}

func (s *shell) report(o operation, all []result) error {
	for _, r := range all {
		line, err := o.text(r)
		if err != nil {
			return err
		}
		s.say("%s", line)
		s.setExit(r.status, o.ignored)
	}
	return nil
}

func (s *shell) start(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	names := strings.Fields(arg)
	if len(names) == 0 {
		s.fail(exitInvalidArgs, "Error: start requires a process name")
		s.printHelp("start")
		return nil
	}
	return s.operate(operation{all: "startAllProcesses", group: "startProcessGroup", one: "startProcess", done: "started", text: startText,
		ignored: supervisordrpc.AlreadyStarted, noGroup: exitInvalidArgs}, names)
}

func (s *shell) stop(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	names := strings.Fields(arg)
	if len(names) == 0 {
		s.fail(exitGeneric, "Error: stop requires a process name")
		s.printHelp("stop")
		return nil
	}
	return s.operate(operation{all: "stopAllProcesses", group: "stopProcessGroup", one: "stopProcess", done: "stopped", text: stopText,
		ignored: supervisordrpc.NotRunning, noGroup: exitGeneric}, names)
}

func (s *shell) restart(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	if len(strings.Fields(arg)) == 0 {
		s.fail(exitGeneric, "Error: restart requires a process name")
		s.printHelp("restart")
		return nil
	}
	if err := s.stop(arg); err != nil {
		return err
	}
	return s.start(arg)
}

func (s *shell) signal(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	words := strings.Fields(arg)
	if len(words) < 2 {
		s.say("Error: signal requires a signal name and a process name")
		s.printHelp("signal")
		s.exit = exitGeneric
		return nil
	}
	return s.operate(operation{all: "signalAllProcesses", group: "signalProcessGroup", one: "signalProcess", params: []xmlrpc.Value{words[0]}, done: "signalled",
		text: func(r result) (string, error) { return signalText(r, "signalled") }, noGroup: exitGeneric}, words[1:])
}

// noArguments says that a command takes none, and reports whether there are any.
func (s *shell) noArguments(verb, arg string) bool {
	if arg == "" {
		return true
	}
	s.fail(exitGeneric, "Error: %s accepts no arguments", verb)
	s.printHelp(verb)
	return false
}

func (s *shell) shutdown(arg string) error {
	if !s.noArguments("shutdown", arg) || !s.confirmed("Really shut the remote supervisord process down y/N? ") {
		return nil
	}
	_, err := s.call("shutdown")
	switch {
	case err == nil:
		s.say("Shut down")
	case faultCode(err) == supervisordrpc.ShutdownState:
		s.say("ERROR: already shutting down")
	case errors.Is(err, syscall.ECONNREFUSED):
		s.fail(exitGeneric, "ERROR: %s refused connection (already shut down?)", s.URL)
	case errors.Is(err, syscall.ENOENT):
		s.fail(exitGeneric, "ERROR: %s no such file (already shut down?)", s.URL)
	default:
		return err
	}
	return nil
}

func (s *shell) reload(arg string) error {
	if !s.noArguments("reload", arg) || !s.confirmed("Really restart the remote supervisord process y/N? ") {
		return nil
	}
	_, err := s.call("restart")
	switch {
	case err == nil:
		s.say("Restarted supervisord")
	case faultCode(err) == supervisordrpc.ShutdownState:
		s.fail(exitGeneric, "ERROR: already shutting down")
	default:
		return err
	}
	return nil
}

func (s *shell) avail(arg string) error {
	if !s.noArguments("avail", arg) {
		return nil
	}
	v, err := s.call("getAllConfigInfo")
	if faultCode(err) == supervisordrpc.ShutdownState {
		s.fail(exitGeneric, "ERROR: supervisor shutting down")
		return nil
	}
	all, _ := v.([]any)
	for _, info := range all {
		members, _ := info.(xmlrpc.Struct)
		use, start := "avail", "manual"
		if members["inuse"] == true {
			use = "in use"
		}
		if members["autostart"] == true {
			start = "auto"
		}
		s.say("%-32s %-9s %-9s %d:%d", supervisordrpc.JoinName(text(info, "group"), text(info, "name")), use, start, number(info, "group_prio"), number(info, "process_prio"))
	}
	return err
}

// changes asks for what has changed in the configuration file.
func (s *shell) changes() (added, changed, removed []string, err error) {
	v, err := s.call("reloadConfig")
	if err != nil {
		return nil, nil, nil, err
	}
	outer, _ := v.([]any)
	if len(outer) != 1 {
		return nil, nil, nil, errors.New("the answer of reloadConfig makes no sense")
	}
	lists, _ := outer[0].([]any)
	if len(lists) != 3 {
		return nil, nil, nil, errors.New("the answer of reloadConfig makes no sense")
	}
	names := func(v any) (all []string) {
		list, _ := v.([]any)
		for _, name := range list {
			all = append(all, fmt.Sprint(name))
		}
		return all
	}
	return names(lists[0]), names(lists[1]), names(lists[2]), nil
}

func (s *shell) reread(arg string) error {
	if !s.noArguments("reread", arg) {
		return nil
	}
	added, changed, removed, err := s.changes()
	switch faultCode(err) {
	case supervisordrpc.ShutdownState:
		s.fail(exitGeneric, "ERROR: supervisor shutting down")
		return nil
	case supervisordrpc.CantReread:
		s.fail(exitGeneric, "ERROR: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	said := map[string]string{}
	for what, names := range map[string][]string{"available": added, "changed": changed, "disappeared": removed} {
		for _, name := range names {
			said[name] = what
		}
	}
	if len(said) == 0 {
		s.say("No config updates to processes")
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		s.say("%s: %s", name, said[name])
	}
	return nil
}

func (s *shell) add(arg string) error {
	for _, name := range strings.Fields(arg) {
		_, err := s.call("addProcessGroup", name)
		switch code := faultCode(err); {
		case err == nil:
			s.say("%s: added process group", name)
		case code == supervisordrpc.ShutdownState:
			s.fail(exitGeneric, "ERROR: shutting down")
		case code == supervisordrpc.AlreadyAdded:
			s.say("ERROR: process group already active")
		case code == supervisordrpc.BadName:
			s.fail(exitGeneric, "ERROR: no such process/group: %s", name)
		default:
			return err
		}
	}
	return nil
}

func (s *shell) remove(arg string) error {
	for _, name := range strings.Fields(arg) {
		_, err := s.call("removeProcessGroup", name)
		switch code := faultCode(err); {
		case err == nil:
			s.say("%s: removed process group", name)
		case code == supervisordrpc.StillRunning:
			s.fail(exitGeneric, "ERROR: process/group still running: %s", name)
		case code == supervisordrpc.BadName:
			s.fail(exitGeneric, "ERROR: no such process/group: %s", name)
		default:
			return err
		}
	}
	return nil
}

func (s *shell) update(arg string) error {
	added, changed, removed, err := s.changes()
	if faultCode(err) == supervisordrpc.ShutdownState {
		s.fail(exitGeneric, "ERROR: already shutting down")
		return nil
	}
	if err != nil {
		return err
	}
	only := strings.Fields(arg)
	if slices.Contains(only, "all") {
		only = nil
	}
	if err := s.checkGroups(only, added); err != nil {
		return err
	}
	wanted := func(group string) bool { return len(only) == 0 || slices.Contains(only, group) }
	for _, group := range removed {
		if !wanted(group) {
			continue
		}
		v, err := s.call("stopProcessGroup", group)
		if err != nil {
			return err
		}
		s.say("%s: stopped", group)
		if slices.ContainsFunc(results(v), func(r result) bool { return r.status == supervisordrpc.Failed }) {
			s.fail(exitGeneric, "%s: has problems; not removing", group)
			continue
		}
		if _, err := s.call("removeProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: removed process group", group)
	}
	for _, group := range changed {
		if !wanted(group) {
			continue
		}
		if _, err := s.call("stopProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: stopped", group)
		for _, method := range []string{"removeProcessGroup", "addProcessGroup"} {
			if _, err := s.call(method, group); err != nil {
				return err
			}
		}
		s.say("%s: updated process group", group)
	}
	for _, group := range added {
		if !wanted(group) {
			continue
		}
		if _, err := s.call("addProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: added process group", group)
	}
	return nil
}

// checkGroups says which of the groups that update is to look at do not exist.
func (s *shell) checkGroups(only, added []string) error {
	if len(only) == 0 {
		return nil
	}
	v, err := s.call("getAllProcessInfo")
	if err != nil {
		return err
	}
	known := slices.Clone(added)
	all, _ := v.([]any)
	for _, info := range all {
		known = append(known, text(info, "group"))
	}
	for _, group := range only {
		if !slices.Contains(known, group) {
			s.fail(exitGeneric, "ERROR: no such group: %s", group)
		}
	}
	return nil
}

func (s *shell) clear(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	names := strings.Fields(arg)
	if len(names) == 0 {
		s.fail(exitGeneric, "Error: clear requires a process name")
		s.printHelp("clear")
		return nil
	}
	clearText := func(r result) (string, error) {
		switch r.status {
		case supervisordrpc.Success:
			return r.process() + ": cleared", nil
		case supervisordrpc.BadName:
			return r.process() + ": ERROR (no such process)", nil
		case supervisordrpc.Failed:
			return r.process() + ": ERROR (failed)", nil
		}
		return "", unknownResult(r, "")
	}
	if slices.Contains(names, "all") {
		v, err := s.call("clearAllProcessLogs")
		if err != nil {
			return err
		}
		return s.report(operation{text: clearText}, results(v))
	}
	for _, name := range names {
		group, process := supervisordrpc.SplitName(name)
		r := result{group, process, "", supervisordrpc.Success}
		if _, err := s.call("clearProcessLogs", name); err != nil {
			f, ok := faultOf(err)
			if !ok {
				return err
			}
			r.status = f.Code
		}
		if err := s.report(operation{text: clearText}, []result{r}); err != nil {
			return err
		}
	}
	return nil
}

func (s *shell) open(arg string) error {
	if !strings.HasPrefix(arg, "unix:") && !strings.HasPrefix(arg, "http:") {
		s.fail(exitGeneric, "ERROR: url must be http:// or unix://")
		return nil
	}
	s.URL = arg
	s.client = newClient(s.URL, s.Username, s.Password)
	exit := s.exit
	err := s.status("")
	s.exit = exit
	return err
}

func (s *shell) version(arg string) error {
	if !s.noArguments("version", arg) {
		return nil
	}
	if up, err := s.isUp(); !up {
		return err
	}
	v, err := s.call("getSupervisorVersion")
	if err == nil {
		s.say("%v", v)
	}
	return err
}

// tailBytes is how many bytes of a log are printed.
const tailBytes = 1600

func (s *shell) tail(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	words := strings.Fields(arg)
	switch {
	case len(words) < 1:
		s.fail(exitGeneric, "Error: too few arguments")
		s.printHelp("tail")
		return nil
	case len(words) > 3:
		s.fail(exitGeneric, "Error: too many arguments")
		s.printHelp("tail")
		return nil
	}
	modifier := ""
	if strings.HasPrefix(words[0], "-") {
		modifier, words = words[0], words[1:]
	}
	if len(words) == 0 {
		s.fail(exitGeneric, "Error: tail requires process name")
		return nil
	}
	name, channel := words[0], "stdout"
	if len(words) > 1 {
		channel = strings.ToLower(words[len(words)-1])
	}
	if channel != "stdout" && channel != "stderr" {
		s.fail(exitGeneric, "Error: bad channel '%s'", channel)
		return nil
	}
	n, follow, ok := s.tailModifier(modifier)
	if !ok {
		return nil
	}
	if follow {
		return s.follow("/logtail/" + name + "/" + channel)
	}
	method := map[string]string{"stdout": "readProcessStdoutLog", "stderr": "readProcessStderrLog"}[channel]
	v, err := s.call(method, name, -n, 0)
	switch faultCode(err) {
	case supervisordrpc.NoFile:
		s.fail(exitGeneric, "%s: ERROR (no log file)", name)
	case supervisordrpc.Failed:
		s.fail(exitGeneric, "%s: ERROR (unknown error reading log)", name)
	case supervisordrpc.BadName:
		s.fail(exitGeneric, "%s: ERROR (no such process name)", name)
	default:
		if err == nil {
			s.say("%v", v)
		}
		return err
	}
	return nil
}

// tailModifier reads -f and -N. After ok = false it has said what is wrong.
func (s *shell) tailModifier(modifier string) (n int, follow, ok bool) {
	if modifier == "" {
		return tailBytes, false, true
	}
	if modifier == "-f" {
		return 0, true, true
	}
	n, err := strconv.Atoi(modifier[1:])
	if err != nil {
		s.fail(exitGeneric, "Error: bad argument %s", modifier)
		return 0, false, false
	}
	return n, false, true
}

func (s *shell) maintail(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	words := strings.Fields(arg)
	modifier := ""
	switch {
	case len(words) > 1:
		s.fail(exitGeneric, "Error: too many arguments")
		s.printHelp("maintail")
		return nil
	case len(words) == 1 && !strings.HasPrefix(words[0], "-"):
		s.fail(exitGeneric, "Error: bad argument %s", words[0])
		return nil
	case len(words) == 1:
		modifier = words[0]
	}
	n, follow, ok := s.tailModifier(modifier)
	if !ok {
		return nil
	}
	if follow {
		return s.follow("/mainlogtail")
	}
	v, err := s.call("readLog", -n, 0)
	switch faultCode(err) {
	case supervisordrpc.NoFile:
		s.fail(exitGeneric, "supervisord: ERROR (no log file)")
	case supervisordrpc.Failed:
		s.fail(exitGeneric, "supervisord: ERROR (unknown error reading log)")
	default:
		if err == nil {
			s.say("%v", v)
		}
		return err
	}
	return nil
}

// follow prints what comes until SIGINT.
func (s *shell) follow(path string) error {
	s.say("==> Press Ctrl-C to exit <==")
	ctx, stop := signal.NotifyContext(s.ctx, syscall.SIGINT)
	defer stop()
	answer, err := s.client.do(ctx, http.MethodGet, path, nil)
	var status *statusError
	switch {
	case errors.As(err, &status):
		fmt.Fprintf(s.errors, "%s%s Cannot read, status code %d\n", s.URL, path, status.code)
		return nil
	case err != nil && ctx.Err() == nil:
		fmt.Fprintf(s.errors, "%s%s Cannot connect, error: %v\n", s.URL, path, err)
		return nil
	case err != nil:
		return nil
	}
	defer answer.Body.Close()
	io.Copy(s.out, answer.Body)
	if ctx.Err() != nil {
		s.say("")
	}
	return nil
}

// running is RUNNING.
const running = 20

// fg says why it does nothing: processes of tideover have no standard input.
func (s *shell) fg(arg string) error {
	if up, err := s.isUp(); !up {
		return err
	}
	names := strings.Fields(arg)
	switch {
	case len(names) == 0:
		s.fail(exitGeneric, "ERROR: no process name supplied")
		s.printHelp("fg")
		return nil
	case len(names) > 1:
		s.fail(exitGeneric, "ERROR: too many process names supplied")
		return nil
	}
	info, err := s.call("getProcessInfo", names[0])
	switch {
	case faultCode(err) == supervisordrpc.BadName:
		s.fail(exitGeneric, "ERROR: bad process name supplied")
	case err != nil:
		return err
	case number(info, "state") != running:
		s.fail(exitGeneric, "ERROR: process not running")
	default:
		s.fail(exitGeneric, "ERROR: processes of tideover have no standard input; supervisorctl tail -f %s shows the output", names[0])
	}
	return nil
}
