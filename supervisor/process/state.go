package process

// State says whether the processes of a tree are there. Whether they may serve is somebody else's question.
type State int

const (
	Starting State = iota // the shim is at work
	Running               // the main process runs the command
	Stopping              // it was asked to stop
	Killing               // the whole tree is being killed
	Exited                // the main process is gone; others of its tree may live
	Gone                  // no process of the tree is left
)

func (s State) String() string {
	return [...]string{"starting", "running", "stopping", "killing", "exited", "gone"}[s]
}

// event is what may happen to a tree.
type event int

const (
	execed event = iota // the shim has become the command
	failed              // the start failed, and the shim is gone
	asked               // the main process was sent its stop signal
	killed              // SIGKILL goes to the whole tree
	exited              // the main process has exited
	empty               // nothing of the tree was found any more
)

// transitions is the whole machine. What is not in it changes nothing.
var transitions = map[State]map[event]State{
	Starting: {execed: Running, failed: Gone},
	Running:  {asked: Stopping, killed: Killing, exited: Exited},
	Stopping: {killed: Killing, exited: Exited},
	Killing:  {empty: Gone},
	Exited:   {killed: Killing, empty: Gone},
}

// after is the one transition function.
func (s State) after(e event) State {
	if next, ok := transitions[s][e]; ok {
		return next
	}
	return s
}
