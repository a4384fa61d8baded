package supervisord

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// Signal is the number of a signal.
type Signal = syscall.Signal

// operation is what is done to one process; name is as the client has written it.
type operation func(c *call, p api.Program, name string) error

// waits is the parameter that says whether the client waits. Any value is one in Python.
func (c *call) waits(i int) bool {
	if i >= len(c.params) {
		return true
	}
	switch v := c.params[i].(type) {
	case bool:
		return v
	case int:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

// one carries an operation out on the process that the first parameter names, or on a group if it is
// GROUP:* or GROUP:.
func (c *call) one(do operation, group func(name string) (xmlrpc.Value, error)) (xmlrpc.Value, error) {
	name := c.name(0)
	if g, process := supervisordrpc.SplitName(name); process == "" {
		value, err := group(g)
		if f, ok := err.(*xmlrpc.Fault); ok && f.Code == supervisordrpc.BadName {
			err = fault(supervisordrpc.BadName, name)
		}
		return value, err
	}
	p, err := c.program(0)
	if err != nil {
		return nil, err
	}
	if err := do(c, p, name); err != nil {
		return nil, err
	}
	return true, nil
}

// each carries an operation out on several processes side by side. The answer has the result of each,
// in their order.
func (c *call) each(all []api.Program, do operation) xmlrpc.Value {
	results := make([]any, len(all))
	var running sync.WaitGroup
	for i, p := range all {
		running.Go(func() {
			result := xmlrpc.Struct{"name": p.Name, "group": p.Group, "status": supervisordrpc.Success, "description": "OK"}
			if err := do(c, p, p.Group+":"+p.Name); err != nil {
				f := faultOf(err)
				result["status"], result["description"] = f.Code, f.Text
			}
			results[i] = result
		})
	}
	running.Wait()
	return results
}

// those returns the processes of a list in whose state something makes sense.
func those(all []api.Program, in func(processState) bool) (some []api.Program) {
	for _, p := range all {
		if in(stateOf(p)) {
			some = append(some, p)
		}
	}
	return some
}

// group carries an operation out on the processes of a group.
func (c *call) group(name string, in func(processState) bool, do operation) (xmlrpc.Value, error) {
	all, err := c.ofGroup(name)
	if err != nil {
		return nil, err
	}
	return c.each(those(all, in), do), nil
}

// all carries an operation out on all processes.
func (c *call) all(in func(processState) bool, do operation) (xmlrpc.Value, error) {
	all, err := c.programs()
	if err != nil {
		return nil, err
	}
	return c.each(those(all, in), do), nil
}

func isDown(s processState) bool { return !s.isUp() }

func (c *call) startProcess() (xmlrpc.Value, error) {
	do := start(c.waits(1))
	return c.one(do, func(group string) (xmlrpc.Value, error) { return c.group(group, isDown, do) })
}

func (c *call) startGroup() (xmlrpc.Value, error) {
	return c.group(c.name(0), isDown, start(c.waits(1)))
}

func (c *call) startAll() (xmlrpc.Value, error) { return c.all(isDown, start(c.waits(0))) }

func (c *call) stopProcess() (xmlrpc.Value, error) {
	do := stop(c.waits(1))
	return c.one(do, func(group string) (xmlrpc.Value, error) { return c.group(group, processState.isUp, do) })
}

func (c *call) stopGroup() (xmlrpc.Value, error) {
	return c.group(c.name(0), processState.isUp, stop(c.waits(1)))
}

func (c *call) stopAll() (xmlrpc.Value, error) { return c.all(processState.isUp, stop(c.waits(0))) }

// start starts a process.
func start(wait bool) operation {
	return func(c *call, p api.Program, name string) error {
		if stateOf(p).isUp() {
			return fault(supervisordrpc.AlreadyStarted, name)
		}
		return c.do(api.Request{Verb: api.Start, App: p.App}, wait, func(r api.Result) error { return startFault(r, name) })
	}
}

// startFault says why a start has failed, in the words that supervisorctl knows.
func startFault(r api.Result, name string) error {
	switch {
	case r.Exit == api.ExitTimeout || strings.HasPrefix(r.Error, "overtaken"):
		return fault(supervisordrpc.AbnormalTermination, name)
	case strings.Contains(r.Error, "shutting down"):
		return fault(supervisordrpc.ShutdownState, "")
	case strings.Contains(r.Error, "no such file"), strings.Contains(r.Error, "not found"):
		return fault(supervisordrpc.NoFile, r.Error)
	case strings.Contains(r.Error, "not executable"), strings.Contains(r.Error, "permission denied"):
		return fault(supervisordrpc.NotExecutable, r.Error)
	}
	return fault(supervisordrpc.SpawnError, name)
}

// stop stops a process. Requests wait for a start, so that a restart loses none.
func stop(wait bool) operation {
	return func(c *call, p api.Program, name string) error {
		if !stateOf(p).isUp() {
			return fault(supervisordrpc.NotRunning, name)
		}
		return c.do(api.Request{Verb: api.Stop, App: p.App, AwaitStart: true}, wait, func(r api.Result) error {
			return fault(supervisordrpc.Failed, r.Error)
		})
	}
}

// do carries an operation of the supervisor out; failure is the error for its result. It is carried
// out also if the client leaves. Without wait the answer does not wait for it.
func (c *call) do(r api.Request, wait bool, failure func(api.Result) error) error {
	r.NoWait = true
	if !wait {
		ctx := context.WithoutCancel(c.ctx)
		c.service.background.Go(func() {
			defer c.request()()
			c.service.daemon.Do(ctx, r, nil) // the daemon logs its result
		})
		return nil
	}
	defer c.request()()
	result, err := c.service.daemon.Do(c.ctx, r, nil)
	if err != nil {
		return err
	}
	if result.Exit != api.ExitOK {
		return failure(result)
	}
	return nil
}

// signalNumber reads a signal: HUP, SIGHUP or 1.
func signalNumber(text string) (Signal, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return Signal(n), unix.SignalName(Signal(n)) != ""
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	n := unix.SignalNum(name)
	return n, n != 0
}

// signal sends a signal to a process.
func signal(text string) operation {
	return func(c *call, p api.Program, name string) error {
		number, ok := signalNumber(text)
		if !ok {
			return fault(supervisordrpc.BadSignal, text)
		}
		if !stateOf(p).takesSignals() {
			return fault(supervisordrpc.NotRunning, name)
		}
		defer c.request()()
		return c.service.daemon.Signal(c.ctx, p.App, number)
	}
}

func (c *call) signalProcess() (xmlrpc.Value, error) {
	do := signal(fmt.Sprint(c.params[1]))
	return c.one(do, func(group string) (xmlrpc.Value, error) { return c.group(group, processState.takesSignals, do) })
}

func (c *call) signalGroup() (xmlrpc.Value, error) {
	return c.group(c.name(0), processState.takesSignals, signal(fmt.Sprint(c.params[1])))
}

func (c *call) signalAll() (xmlrpc.Value, error) {
	return c.all(processState.takesSignals, signal(fmt.Sprint(c.params[0])))
}

func (c *call) addGroup() (xmlrpc.Value, error) {
	defer c.request()()
	return c.changeGroup(c.service.daemon.AddGroup, supervisordrpc.AlreadyAdded)
}

func (c *call) removeGroup() (xmlrpc.Value, error) {
	defer c.request()()
	return c.changeGroup(c.service.daemon.RemoveGroup, supervisordrpc.StillRunning)
}

// changeGroup adds or removes a group. busy is the fault for ExitBusy.
func (c *call) changeGroup(change func(ctx context.Context, group string) error, busy int) (xmlrpc.Value, error) {
	err := change(c.ctx, c.name(0))
	if err == nil {
		return true, nil
	}
	if e, ok := err.(*api.Error); ok {
		switch e.Exit {
		case api.ExitBusy:
			return nil, fault(busy, c.name(0))
		case api.ExitNoSuchApp:
			return nil, fault(supervisordrpc.BadName, c.name(0))
		}
	}
	return nil, err
}
