package supervisor

import (
	"sync"
	"time"

	"tideover/supervisor/process"
)

// usageFor is how long a reading of /proc answers further questions.
const usageFor = time.Second

// usage reads what the processes of the apps use, for all apps at once.
type usage struct {
	mu     sync.Mutex // held during a reading
	at     time.Time
	byMain map[int]process.Usage // by the pid of the main process of the generation that serves
	before map[int]process.Usage // those of the reading before,
	since  time.Time             // at that time
}

// of returns what these main processes and their descendants use. share is the part of one CPU that
// each of them has used since the reading before; it is not known of one that was not there.
func (u *usage) of(mains []int) (now map[int]process.Usage, share map[int]float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	known := time.Since(u.at) < usageFor
	for _, pid := range mains {
		_, has := u.byMain[pid]
		known = known && has
	}
	if !known {
		used, err := process.UsageOf(mains)
		if err == nil {
			u.before, u.since = u.byMain, u.at
			u.byMain, u.at = used, time.Now()
		}
	}
	share = map[int]float64{}
	for pid, now := range u.byMain {
		if before, known := u.before[pid]; known && now.CPU >= before.CPU {
			share[pid] = (now.CPU - before.CPU).Seconds() / u.at.Sub(u.since).Seconds()
		}
	}
	return u.byMain, share
}
