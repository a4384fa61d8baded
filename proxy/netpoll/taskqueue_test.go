package netpoll

import (
	"sync"
	"sync/atomic"
	"testing"
)

// loop runs tasks until stop is called, which waits for its end.
func loop(t *testing.T) (q *TaskQueue, stop func()) {
	t.Helper()
	p := open(t)
	q = &TaskQueue{}
	if err := q.Open(p); err != nil {
		t.Fatal(err)
	}
	over := false
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(func() bool {
			for {
				p.Poll()
				if q.RunAll() {
					continue
				}
				if over || q.PrepareWait() {
					return over
				}
			}
		})
		q.Close()
	}()
	return q, func() {
		q.Post(TaskFunc(func() { over = true }))
		<-ended
	}
}

// Tasks of one goroutine run in their order, each once, and the loop never sleeps over one.
func TestTasksRunInOrder(t *testing.T) {
	q, stop := loop(t)
	const goroutines, each = 8, 5000
	var ran [goroutines]int
	var posting sync.WaitGroup
	for g := range goroutines {
		posting.Go(func() {
			for i := range each {
				task := func() {
					if ran[g] != i {
						t.Errorf("number %d runs as number %d", i, ran[g])
					}
					ran[g]++
				}
				if i%100 == 0 {
					q.Call(task)
				} else {
					q.Post(TaskFunc(task))
				}
			}
		})
	}
	posting.Wait()
	stop()
	for g, n := range ran {
		if n != each {
			t.Errorf("goroutine %d: %d of %d ran", g, n, each)
		}
	}
}

func TestClosedQueueRefusesTasks(t *testing.T) {
	q, stop := loop(t)
	stop()
	ran := false
	if q.Post(TaskFunc(func() { ran = true })) || q.Call(func() { ran = true }) || ran {
		t.Error("a task was taken after the end")
	}
}

// A call that was accepted returns, however near the end it came.
func TestCallsAtTheEndReturn(t *testing.T) {
	for range 200 {
		q, stop := loop(t)
		var called, ran atomic.Int64
		var calling sync.WaitGroup
		for range 4 {
			calling.Go(func() {
				for q.Call(func() { ran.Add(1) }) {
					called.Add(1)
				}
			})
		}
		stop()
		calling.Wait()
		if called.Load() != ran.Load() {
			t.Fatalf("%d calls returned, %d ran", called.Load(), ran.Load())
		}
	}
}
