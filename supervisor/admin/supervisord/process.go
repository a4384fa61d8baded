package supervisord

import (
	"cmp"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// processState is a state of supervisord.
type processState int

const (
	stopped  processState = 0
	starting processState = 10
	running  processState = 20
	backoff  processState = 30
	stopping processState = 40
	exited   processState = 100
	fatal    processState = 200
)

var stateNames = map[processState]string{stopped: "STOPPED", starting: "STARTING", running: "RUNNING", backoff: "BACKOFF", stopping: "STOPPING", exited: "EXITED", fatal: "FATAL"}

// isUp reports whether a start is refused, and a stop is not.
func (s processState) isUp() bool { return s == starting || s == running || s == backoff }

// takesSignals reports whether there is a process.
func (s processState) takesSignals() bool { return s == starting || s == running || s == stopping }

func stateOf(p api.Program) processState {
	switch p.State {
	case api.Starting:
		return starting
	case api.Running, api.Reloading, api.Holding:
		if p.Pid == 0 {
			return starting
		}
		return running
	case api.Backoff:
		return backoff
	case api.Stopping:
		return stopping
	case api.Failed:
		if p.Finished && !p.Failed {
			return exited
		}
		return fatal
	}
	if p.Finished {
		return exited
	}
	return stopped
}

// seconds is a time as supervisord has it; 0: never.
func seconds(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(t.Unix())
}

// info returns a process as getProcessInfo has it.
func info(p api.Program, now time.Time) xmlrpc.Struct {
	state := stateOf(p)
	stderr := p.LogFile
	if p.MergeStderr {
		stderr = ""
	}
	spawnError, exitStatus := "", p.ExitStatus
	if state == backoff || state == fatal { // supervisord keeps no exit status of a start that has failed
		spawnError, exitStatus = p.Reason, 0
	}
	return xmlrpc.Struct{
		"name": p.Name, "group": p.Group, "start": seconds(p.Started), "stop": seconds(p.Stopped), "now": int(now.Unix()),
		"state": int(state), "statename": stateNames[state], "spawnerr": spawnError, "exitstatus": exitStatus,
		"logfile": p.LogFile, "stdout_logfile": p.LogFile, "stderr_logfile": stderr, "pid": p.Pid,
		"description": describe(p, state, spawnError, now),
	}
}

// describe returns the last column of `supervisorctl status`.
func describe(p api.Program, state processState, spawnError string, now time.Time) string {
	switch state {
	case running:
		return fmt.Sprintf("pid %d, uptime %s", p.Pid, uptime(int(now.Unix())-seconds(p.Started)))
	case fatal, backoff:
		return cmp.Or(spawnError, fmt.Sprintf(`unknown error (try "tail %s")`, p.Name))
	case stopped, exited:
		if p.Started.IsZero() {
			return "Not started"
		}
		return cmp.Or(p.Stopped, p.Started).Local().Format("Jan 02 03:04 PM")
	}
	return ""
}

// uptime writes seconds as Python writes a timedelta: "0:00:03", "2 days, 1:02:03".
func uptime(n int) string {
	n = max(n, 0)
	clock := fmt.Sprintf("%d:%02d:%02d", n/3600%24, n/60%60, n%60)
	switch days := n / 86400; days {
	case 0:
		return clock
	case 1:
		return "1 day, " + clock
	default:
		return fmt.Sprintf("%d days, %s", days, clock)
	}
}

// programs returns the processes of the daemon.
func (c *call) programs() ([]api.Program, error) {
	defer c.request()()
	return c.service.daemon.Programs(c.ctx, false)
}

// find returns the process of a name. The name of the app is one, too.
func find(all []api.Program, name string) (api.Program, bool) {
	group, process := supervisordrpc.SplitName(name)
	i := slices.IndexFunc(all, func(p api.Program) bool { return p.Group == group && p.Name == process })
	if i < 0 {
		i = slices.IndexFunc(all, func(p api.Program) bool { return p.App == name })
	}
	if i < 0 {
		return api.Program{}, false
	}
	return all[i], true
}

// name returns a parameter that is a name.
func (c *call) name(i int) string {
	if s, ok := c.params[i].(string); ok {
		return s
	}
	return fmt.Sprint(c.params[i])
}

// program returns the process that a parameter names.
func (c *call) program(i int) (api.Program, error) {
	all, err := c.programs()
	if err != nil {
		return api.Program{}, err
	}
	p, ok := find(all, c.name(i))
	if !ok {
		return p, fault(supervisordrpc.BadName, c.name(i))
	}
	return p, nil
}

// ofGroup returns the processes of a group.
func (c *call) ofGroup(group string) ([]api.Program, error) {
	all, err := c.programs()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p api.Program) bool { return p.Group != group })
	if len(all) == 0 {
		return nil, fault(supervisordrpc.BadName, group)
	}
	return all, nil
}

func (c *call) processInfo() (xmlrpc.Value, error) {
	p, err := c.program(0)
	if err != nil {
		return nil, err
	}
	return info(p, time.Now()), nil
}

func (c *call) allProcessInfo() (xmlrpc.Value, error) {
	all, err := c.programs()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b api.Program) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name)) })
	infos := []any{}
	for _, p := range all {
		infos = append(infos, info(p, time.Now()))
	}
	return infos, nil
}

// defaultPriority is that of every process: the order of starts is that of the key after.
const defaultPriority = 999

func (c *call) allConfigInfo() (xmlrpc.Value, error) {
	defer c.request()()
	all, err := c.service.daemon.Programs(c.ctx, true)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b api.Program) int { return cmp.Compare(a.Name, b.Name) })
	infos := []any{}
	for _, p := range all {
		infos = append(infos, configInfo(p))
	}
	return infos, nil
}

// configInfo returns a process as getAllConfigInfo has it. What tideover has no setting for is
// supervisord's default.
func configInfo(p api.Program) xmlrpc.Struct {
	codes := []any{}
	for _, code := range p.ExitCodes {
		codes = append(codes, code)
	}
	var uid xmlrpc.Value = "none"
	if account, err := user.Lookup(p.User); err == nil {
		if n, err := strconv.Atoi(account.Uid); err == nil {
			uid = n
		}
	}
	stdout, stderr := cmp.Or(p.LogFile, "auto"), cmp.Or(p.LogFile, "auto")
	if p.MergeStderr {
		stderr = "none"
	}
	return xmlrpc.Struct{
		"autostart": p.Autostart, "directory": cmp.Or(p.Directory, "none"), "uid": uid, "command": p.Command, "exitcodes": codes,
		"group": p.Group, "group_prio": defaultPriority, "inuse": p.InUse, "killasgroup": true, "name": p.Name, "process_prio": defaultPriority,
		"redirect_stderr": p.MergeStderr, "serverurl": "none", "startretries": 3, "startsecs": 1, "stopsignal": p.StopSignal, "stopwaitsecs": int(p.StopTimeout),
		"stdout_capture_maxbytes": 0, "stdout_events_enabled": false, "stdout_logfile": stdout, "stdout_logfile_backups": p.LogBackups,
		"stdout_logfile_maxbytes": int(p.LogMaxSize), "stdout_syslog": false,
		"stderr_capture_maxbytes": 0, "stderr_events_enabled": false, "stderr_logfile": stderr, "stderr_logfile_backups": p.LogBackups,
		"stderr_logfile_maxbytes": int(p.LogMaxSize), "stderr_syslog": false,
	}
}
