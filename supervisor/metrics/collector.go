package metrics

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/procfs"

	"tideover/proxy"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
)

// Write writes a snapshot in the text format, families and series in the order of their names.
func Write(w io.Writer, s Snapshot) error {
	all := prometheus.NewPedanticRegistry()
	if err := all.Register(collector{s}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	gathered, err := all.Gather()
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range gathered {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// collector has one snapshot. It is registered for one scrape.
type collector struct{ Snapshot }

// Describe is that of prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range families {
		to <- f.desc
	}
}

// Collect is that of prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	e := emitter{to}
	e.put(build, 1, c.Version, runtime.Version())
	e.put(began, unixSeconds(c.Began))
	e.put(configChanged, oneIf(c.ConfigChanged))
	e.put(clients, float64(c.Connections))
	e.put(clientsLimit, float64(c.ConnectionLimit))
	for _, p := range c.Processes {
		e.putProcess(p)
	}
	for i := range c.Apps {
		e.putApp(&c.Apps[i])
	}
}

// emitter sends metrics to one scrape.
type emitter struct{ to chan<- prometheus.Metric }

// put sends one value. The labels are those of the family, in its order.
func (e emitter) put(f *family, value float64, labels ...string) {
	as := prometheus.GaugeValue
	if f.kind == counter {
		as = prometheus.CounterValue
	}
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD") // else the whole scrape fails
	}
	e.to <- prometheus.MustNewConstMetric(f.desc, as, value, labels...)
}

func (e emitter) putHistogram(f *family, h remote.Histogram, labels ...string) {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, bound := range proxy.Buckets() {
		if i < len(h.Buckets) {
			n += h.Buckets[i]
		}
		buckets[bound.Seconds()] = n
	}
	e.to <- prometheus.MustNewConstHistogram(f.desc, h.Count(), h.Sum.Seconds(), buckets, labels...)
}

// putProcess sends what /proc says of a process; nothing, where it has ended.
func (e emitter) putProcess(p Process) {
	proc, err := procfs.NewProc(p.Pid)
	if err != nil {
		return
	}
	if stat, err := proc.Stat(); err == nil {
		e.put(ownCPU, stat.CPUTime(), p.Role)
		e.put(ownMemory, float64(stat.ResidentMemory()), p.Role)
		if at, err := stat.StartTime(); err == nil {
			e.put(ownBegan, at, p.Role)
		}
	}
	if n, err := proc.FileDescriptorsLen(); err == nil {
		e.put(ownFiles, float64(n), p.Role)
	}
}

// states are all states of an app.
var states = []api.State{api.Stopped, api.Starting, api.Running, api.Reloading, api.Holding, api.Backoff, api.Failed, api.Stopping}

func (e emitter) putApp(a *App) {
	for _, s := range states {
		e.put(state, oneIf(s == a.State), a.Name, string(s))
	}
	if a.Generation > 0 {
		e.put(generation, 1, a.Name, strconv.Itoa(a.Generation), a.Revision, filepath.Clean(a.Directory))
		e.put(generationTime, unixSeconds(a.Ready), a.Name)
		e.put(processes, float64(a.Processes), a.Name)
		e.put(memory, float64(a.Memory), a.Name)
		e.put(cpu, a.CPU.Seconds(), a.Name)
	}
	if a.MemoryMax > 0 {
		e.put(memoryMax, float64(a.MemoryMax), a.Name)
	}
	e.put(draining, float64(a.Draining), a.Name)
	e.put(starts, float64(a.Starts), a.Name)
	e.put(startsFailed, float64(a.StartsFailed), a.Name)
	e.put(crashes, float64(a.Crashes), a.Name)
	e.put(linesDropped, float64(a.LinesDropped), a.Name)
	if r := a.LastReload; r != nil {
		e.put(lastOK, oneIf(r.Exit == api.ExitOK), a.Name)
		e.put(lastAt, unixSeconds(r.Ended), a.Name)
	}
	for _, o := range a.Operations {
		e.put(operations, float64(o.Count), a.Name, string(o.Verb), strings.ReplaceAll(o.Result, " ", "_"))
	}
	for _, p := range a.Phases {
		e.to <- prometheus.MustNewConstSummary(phases.desc, p.Count, p.Took.Seconds(), nil, a.Name, string(p.Verb), p.Name)
	}
	if a.Web {
		e.putTraffic(a)
	}
}

func (e emitter) putTraffic(a *App) {
	for _, n := range a.Requests.Endings {
		code := ""
		if n.Status > 0 {
			code = strconv.Itoa(n.Status)
		}
		e.put(requests, float64(n.Requests), a.Name, n.Ending, code)
	}
	e.putHistogram(requestDuration, a.Requests.Client, a.Name)
	e.putHistogram(upstreamDuration, a.Requests.App, a.Name)
	e.putHistogram(holdDuration, a.Requests.Hold, a.Name)
	for f, n := range map[*family]uint64{resent: a.Counters.Resent, streamed: a.Counters.Streamed, blocked: a.Counters.Blocked, evicted: a.Counters.Evicted,
		accepted: a.Counters.Connections, opened: a.Counters.Tunnels} {
		e.put(f, float64(n), a.Name)
	}
	if a.Capacity > 0 {
		e.put(capacity, float64(a.Capacity), a.Name)
		e.put(waiting, float64(max(0, a.InFlight-a.Capacity)), a.Name)
	}
	for f, n := range map[*family]int{inFlight: a.InFlight, held: a.Held, holdLimit: a.HoldLimit, holds: a.Holds, connections: a.Connections,
		tunnels: a.Tunnels, sending: a.Sending} {
		e.put(f, float64(n), a.Name)
	}
	e.put(drained, oneIf(a.Drained), a.Name)
	e.put(heldOldest, a.HeldOldest.Seconds(), a.Name)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
