package netpoll

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Task is run by the goroutine of the loop.
type Task interface {
	Run()
}

// A TaskFunc is a function as a Task.
type TaskFunc func()

// Run calls f.
func (f TaskFunc) Run() { f() }

// A TaskQueue hands tasks from any goroutine to a loop, in order. An eventfd wakes the loop when it
// may be waiting for events.
type TaskQueue struct {
	wakeFD int // in the loop's set; it is never read, because every write to it is an edge

	mu        sync.Mutex
	posted    []Task
	spare     []Task // memory for the next ones
	needsWake bool
	closed    bool
}

// Open makes p wake its loop for tasks.
func (q *TaskQueue) Open(p *Poller) (err error) {
	if q.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if err = p.Add(q.wakeFD, unix.EPOLLIN, nil); err != nil {
		unix.Close(q.wakeFD)
	}
	return err
}

// Post appends a task, from any goroutine. It reports false when the queue is closed; then the task
// is not run.
func (q *TaskQueue) Post(t Task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.posted = append(q.posted, t)
	if q.needsWake {
		q.needsWake = false
		unix.Write(q.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// Call has the loop call f and waits until it has, from any goroutine but the loop's. It reports
// false when the queue is closed; then f is not called.
func (q *TaskQueue) Call(f func()) bool {
	done := make(chan struct{})
	posted := q.Post(TaskFunc(func() { f(); close(done) }))
	if posted {
		<-done
	}
	return posted
}

// RunAll runs the tasks that are there and reports whether there were any. Only the loop calls it.
func (q *TaskQueue) RunAll() bool {
	tasks := q.take()
	for i, t := range tasks {
		t.Run()
		tasks[i] = nil
	}
	return len(tasks) > 0
}

func (q *TaskQueue) take() []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.needsWake = false
	tasks := q.posted
	q.posted, q.spare = q.spare[:0], tasks
	return tasks
}

// PrepareWait says that the loop is about to wait for events, so that from now on a task has to
// wake it. It reports false when there is a task. Only the loop calls it.
func (q *TaskQueue) PrepareWait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.needsWake = len(q.posted) == 0
	return q.needsWake
}

// Close refuses further tasks, and runs those that are there: a goroutine may be waiting for one.
// Only the loop calls it.
func (q *TaskQueue) Close() {
	q.mu.Lock()
	q.closed = true
	unix.Close(q.wakeFD)
	q.mu.Unlock()
	q.RunAll()
}
