package process

// State is the state of a process tree. It says nothing about readiness.
type State int

const (
	Starting State = iota // the shim runs
	Running               // the main process runs the command
	Stopping              // the stop signal was sent
	Killing               // SIGKILL is sent to the whole tree
	Exited                // the main process has exited; others may live
	Gone                  // no process of the tree is left
)

func (s State) String() string {
	return [...]string{"starting", "running", "stopping", "killing", "exited", "gone"}[s]
}

// event causes a transition.
type event int

const (
	execed        event = iota // execve has succeeded
	failed                     // the start has failed
	stopRequested              // the stop signal was sent
	killed                     // SIGKILL was sent to the whole tree
	exited                     // the main process has exited
	empty                      // a scan has found no process
)

// transitions is the state machine. An event that is not listed changes nothing.
var transitions = map[State]map[event]State{
	Starting: {execed: Running, failed: Gone},
	Running:  {stopRequested: Stopping, killed: Killing, exited: Exited},
	Stopping: {killed: Killing, exited: Exited},
	Killing:  {empty: Gone},
	Exited:   {killed: Killing, empty: Gone},
}

// after returns the state after an event.
func (s State) after(e event) State {
	if next, ok := transitions[s][e]; ok {
		return next
	}
	return s
}
