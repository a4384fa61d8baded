package supervisord

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

const (
	apiVersion = "3.0"
	// version is that of the supervisor whose methods these are.
	version = "4.3.0"
)

// method is one method. Its parameters are named as in its help.
type method struct {
	help    string
	returns string
	params  []string // types; one in brackets may be left out
	changes bool     // refused where clients may only look
	run     func(*call) (xmlrpc.Value, error)
}

// call is one call of a method.
type call struct {
	service *Service
	ctx     context.Context
	access  Access
	params  []xmlrpc.Value
}

// methods is every method but those of system, which need it.
func methods() map[string]method {
	str, num := "string", "int"
	name := []string{str}
	all := map[string]method{
		"getAPIVersion":        {"the version of the API", str, nil, false, text(apiVersion)},
		"getSupervisorVersion": {"the version of supervisor whose API this is", str, nil, false, text(version)},
		"getIdentification":    {"daemon.supervisor_identifier", str, nil, false, func(c *call) (xmlrpc.Value, error) { return c.service.identifier, nil }},
		"getState":             {"statecode and statename of the daemon", "struct", nil, false, (*call).state},
		"getPID":               {"the pid of the daemon", num, nil, false, (*call).pid},

		"getProcessInfo":    {"a process", "struct", name, false, (*call).processInfo},
		"getAllProcessInfo": {"all processes", "array", nil, false, (*call).allProcessInfo},
		"getAllConfigInfo":  {"all processes of the configuration file", "array", nil, false, (*call).allConfigInfo},

		"startProcess":       {"starts a process; the second parameter says whether to wait", "boolean", []string{str, "[boolean]"}, true, (*call).startProcess},
		"startProcessGroup":  {"starts the processes of a group that do not run", "array", []string{str, "[boolean]"}, true, (*call).startGroup},
		"startAllProcesses":  {"starts all processes that do not run", "array", []string{"[boolean]"}, true, (*call).startAll},
		"stopProcess":        {"stops a process; requests wait for a start for hold.timeout", "boolean", []string{str, "[boolean]"}, true, (*call).stopProcess},
		"stopProcessGroup":   {"stops the processes of a group that run", "array", []string{str, "[boolean]"}, true, (*call).stopGroup},
		"stopAllProcesses":   {"stops all processes that run", "array", []string{"[boolean]"}, true, (*call).stopAll},
		"signalProcess":      {"sends a signal, by name or number, to a process", "boolean", []string{str, str}, true, (*call).signalProcess},
		"signalProcessGroup": {"sends a signal to the processes of a group", "array", []string{str, str}, true, (*call).signalGroup},
		"signalAllProcesses": {"sends a signal to all processes", "array", name, true, (*call).signalAll},

		"reloadConfig":       {"the groups that were added, changed and removed in the configuration file", "array", nil, true, (*call).reloadConfig},
		"addProcessGroup":    {"takes a group of the configuration file into use", "boolean", name, true, (*call).addGroup},
		"removeProcessGroup": {"takes a stopped group out of use", "boolean", name, true, (*call).removeGroup},
		"shutdown":           {"ends the daemon", "boolean", nil, true, (*call).shutdown},
		"restart":            {"applies the configuration and reloads every app", "boolean", nil, true, (*call).restart},

		"readLog":              {"bytes of the daemon's log", str, []string{num, num}, false, (*call).readMainLog},
		"clearLog":             {"makes the daemon's log begin with the next line", "boolean", nil, true, (*call).clearMainLog},
		"readProcessStdoutLog": {"bytes of a process's output", str, []string{str, num, num}, false, (*call).readStdout},
		"readProcessStderrLog": {"bytes of a process's errors", str, []string{str, num, num}, false, (*call).readStderr},
		"tailProcessStdoutLog": {"the last bytes of a process's output, the offset of the next and whether some were left out", "array", []string{str, num, num}, false, (*call).tailStdout},
		"tailProcessStderrLog": {"the last bytes of a process's errors, the offset of the next and whether some were left out", "array", []string{str, num, num}, false, (*call).tailStderr},
		"clearProcessLogs":     {"makes the logs of a process begin with the next line", "boolean", name, true, (*call).clearLogs},
		"clearAllProcessLogs":  {"makes the logs of all processes begin with the next line", "array", nil, true, (*call).clearAllLogs},

		"sendProcessStdin":    {"a fault: the apps of tideover have no standard input", "boolean", []string{str, str}, true, (*call).sendStdin},
		"sendRemoteCommEvent": {"a fault: tideover has no event listeners", "boolean", []string{str, str}, true, (*call).sendEvent},
	}
	for alias, of := range map[string]string{"getVersion": "getAPIVersion", "readMainLog": "readLog", "readProcessLog": "readProcessStdoutLog",
		"tailProcessLog": "tailProcessStdoutLog", "clearProcessLog": "clearProcessLogs"} {
		all[alias] = all[of]
	}
	named := map[string]method{}
	for name, m := range all {
		named["supervisor."+name] = m
	}
	return named
}

// text is the answer of a method that always has the same.
func text(s string) func(*call) (xmlrpc.Value, error) {
	return func(*call) (xmlrpc.Value, error) { return s, nil }
}

// systemMethods are those of system; without them methods could not refer to its own table.
func systemMethods() map[string]method {
	return map[string]method{
		"system.listMethods":     {"the names of all methods", "array", nil, false, listMethods},
		"system.methodHelp":      {"what a method does", "string", []string{"string"}, false, methodHelp},
		"system.methodSignature": {"the types of a method's answer and parameters", "array", []string{"string"}, false, methodSignature},
		"system.multicall":       {"the answers of several calls", "array", []string{"array"}, false, multicall},
	}
}

func allMethods() map[string]method {
	all := methods()
	maps.Copy(all, systemMethods())
	return all
}

// call carries a method out.
func (s *Service) call(ctx context.Context, name string, params []xmlrpc.Value, a Access) (xmlrpc.Value, error) {
	m, ok := allMethods()[name]
	if !ok {
		return nil, fault(supervisordrpc.UnknownMethod, "")
	}
	c := &call{service: s, ctx: ctx, access: a, params: params}
	if !m.takes(params) {
		return nil, fault(supervisordrpc.IncorrectParameters, "")
	}
	if m.changes && a.ReadOnly {
		return nil, fault(supervisordrpc.Failed, "this address only looks: it needs daemon.supervisor_user and supervisor_password_file")
	}
	return m.run(c)
}

// takes reports whether a method can be called with these parameters. supervisord converts numbers in
// strings, and any value to a boolean.
func (m method) takes(params []xmlrpc.Value) bool {
	if len(params) > len(m.params) {
		return false
	}
	for i, kind := range m.params {
		if i >= len(params) {
			if !strings.HasPrefix(kind, "[") {
				return false
			}
			continue
		}
		switch params[i].(type) {
		case string:
			if kind == "array" {
				return false
			}
		case int, bool:
			if kind == "array" {
				return false
			}
		case []any:
			if kind != "array" {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// request takes a place among the requests to the supervisor. done gives it back.
func (c *call) request() (done func()) {
	c.service.requests <- struct{}{}
	return func() { <-c.service.requests }
}

func listMethods(*call) (xmlrpc.Value, error) {
	names := []any{}
	for _, name := range slices.Sorted(maps.Keys(allMethods())) {
		names = append(names, name)
	}
	return names, nil
}

// described returns the method that the first parameter names.
func (c *call) described() (method, error) {
	name, _ := c.params[0].(string)
	m, ok := allMethods()[name]
	if !ok {
		return m, fault(supervisordrpc.SignatureUnsupported, "")
	}
	return m, nil
}

// methodHelp has the types in the form that supervisord's clients parse.
func methodHelp(c *call) (xmlrpc.Value, error) {
	m, err := c.described()
	if err != nil {
		return nil, err
	}
	help := m.help + "\n"
	for _, kind := range m.params {
		help += "\n@param " + strings.Trim(kind, "[]")
	}
	return help + "\n@return " + m.returns, nil
}

func methodSignature(c *call) (xmlrpc.Value, error) {
	m, err := c.described()
	if err != nil {
		return nil, err
	}
	types := []any{m.returns}
	for _, kind := range m.params {
		types = append(types, strings.Trim(kind, "[]"))
	}
	return types, nil
}

// multicall carries calls out one after another.
func multicall(c *call) (xmlrpc.Value, error) {
	answers := []any{}
	for _, one := range c.params[0].([]any) {
		if c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
		asked, _ := one.(xmlrpc.Struct)
		name, _ := asked["methodName"].(string)
		params, _ := asked["params"].([]any)
		var value xmlrpc.Value
		var err error
		switch name {
		case "":
			err = fault(supervisordrpc.IncorrectParameters, "No methodName")
		case "system.multicall":
			err = fault(supervisordrpc.IncorrectParameters, "Recursive system.multicall forbidden")
		default:
			value, err = c.service.call(c.ctx, name, params, c.access)
		}
		if err != nil {
			f := faultOf(err)
			value = xmlrpc.Struct{"faultCode": f.Code, "faultString": f.Text}
		}
		answers = append(answers, value)
	}
	return answers, nil
}

func (c *call) state() (xmlrpc.Value, error) {
	defer c.request()()
	status, err := c.service.daemon.Status(c.ctx)
	if err != nil {
		return nil, err
	}
	if status.ShuttingDown {
		return xmlrpc.Struct{"statecode": -1, "statename": "SHUTDOWN"}, nil
	}
	return xmlrpc.Struct{"statecode": 1, "statename": "RUNNING"}, nil
}

func (c *call) pid() (xmlrpc.Value, error) {
	defer c.request()()
	status, err := c.service.daemon.Status(c.ctx)
	if err == nil && status.Pid == 0 {
		status.Pid = os.Getppid()
	}
	return status.Pid, err
}

func (c *call) reloadConfig() (xmlrpc.Value, error) {
	defer c.request()()
	groups, err := c.service.daemon.Reread(c.ctx)
	if err != nil {
		return nil, err
	}
	list := func(names []string) []any {
		all := []any{}
		for _, name := range names {
			all = append(all, name)
		}
		return all
	}
	return []any{[]any{list(groups.Added), list(groups.Changed), list(groups.Removed)}}, nil
}

func (c *call) shutdown() (xmlrpc.Value, error) {
	c.service.background.Go(func() { c.service.daemon.Shutdown(context.WithoutCancel(c.ctx), false) })
	return true, nil
}

func (c *call) restart() (xmlrpc.Value, error) {
	defer c.request()()
	return true, c.service.daemon.Renew(c.ctx)
}

func (c *call) sendStdin() (xmlrpc.Value, error) {
	if _, err := c.program(0); err != nil {
		return nil, err
	}
	return nil, fault(supervisordrpc.Failed, "the apps of tideover have no standard input")
}

func (c *call) sendEvent() (xmlrpc.Value, error) {
	return nil, fault(supervisordrpc.Failed, "tideover has no event listeners")
}
