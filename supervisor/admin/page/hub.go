package page

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/trend"
)

const (
	// liveInterval is the time between two answers of the supervisor while the page is open somewhere,
	// and hourStep the same while it is not: the curves of the last hour are kept all the same.
	liveInterval = time.Second
	hourStep     = 10 * time.Second
	hourPoints   = 360
	livePoints   = 180
	// usageInterval is the time between two answers with what the processes use, which cost the
	// supervisor more.
	usageInterval = 5 * time.Second
	// minInterval bounds how often something that has happened makes the supervisor be asked.
	minInterval = 100 * time.Millisecond
	// maxEntries is how many records of the history the page has.
	maxEntries = 100
)

// Source is the supervisor.
type Source interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
	History(ctx context.Context, q api.HistoryQuery, yield func(api.Record) bool) error
	Fleet(ctx context.Context) (api.Fleet, error)
	// As returns the supervisor for requests with a token, from the address of a browser.
	As(token, from string) Operator
}

// Page is the page of one admin process.
type Page struct {
	options Options
	changed chan struct{} // capacity 1: something has happened, or a viewer has come
	tails   chan struct{} // capacity maxTails: the requests for output that are answered

	mu      sync.Mutex // guards the fields below
	hour    *trend.Recorder
	live    *trend.Recorder // nil: no stream is open
	daemon  daemonFacts
	order   []string
	rows    map[string]*row
	encoded map[string][]byte // the rows, in JSON
	fleet   *api.Fleet        // nil: the host is in none
	hosts   []byte            // fleet, in JSON
	entries []*entry          // the oldest first
	viewers map[*viewer]bool
}

// daemonFacts are of the daemon as a whole.
type daemonFacts struct {
	Version         string `json:"version"`
	Began           int64  `json:"began"` // in ms since 1970
	Connections     int    `json:"connections"`
	ConnectionLimit int    `json:"limit,omitempty"`
	ShuttingDown    bool   `json:"ending,omitempty"`
	Acts            bool   `json:"acts,omitempty"` // with the token
}

// Options make a Page.
type Options struct {
	Source Source
	Host   string   // name of the machine
	Hosts  []string // names by which it is asked for, beside addresses and localhost
	Acts   bool     // there is a token for actions and output
}

// New returns a page that knows nothing until Run.
func New(o Options) *Page {
	return &Page{options: o, changed: make(chan struct{}, 1), tails: make(chan struct{}, maxTails), hour: trend.New(hourStep, hourPoints), rows: map[string]*row{}, encoded: map[string][]byte{},
		viewers: map[*viewer]bool{}}
}

// Run keeps the page up to date until ctx ends, or the supervisor fails to answer: that is its error.
func (p *Page) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- p.follow(ctx)
	}()
	err := p.poll(ctx)
	cancel()
	return errors.Join(err, <-followed)
}

// follow receives the records of the history as they are made.
func (p *Page) follow(ctx context.Context) error {
	err := p.options.Source.History(ctx, api.HistoryQuery{Last: maxEntries, Follow: true}, func(r api.Record) bool {
		p.addRecord(&r)
		return ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("the history has ended")
	}
	return err
}

func (p *Page) addRecord(r *api.Record) {
	e := newEntry(r)
	p.mu.Lock()
	if e != nil {
		if p.entries = append(p.entries, e); len(p.entries) > maxEntries {
			p.entries = slices.Delete(p.entries, 0, len(p.entries)-maxEntries)
		}
		p.publishLocked(message("entry", e))
	}
	p.mu.Unlock()
	p.wake()
}

func (p *Page) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// poll asks for the status: at an interval, and when something has happened.
func (p *Page) poll(ctx context.Context) error {
	var usage time.Time // of the last answer with it
	for {
		began := time.Now()
		var selectors []string
		if p.isWatched() && began.Sub(usage) >= usageInterval {
			selectors, usage = []string{"all"}, began
		}
		st, err := p.options.Source.Status(ctx, selectors...)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		p.addStatus(time.Now(), st)
		if err := p.askFleet(ctx, st.Fleet != ""); err != nil {
			return err
		}
		p.wait(ctx, began)
	}
}

// wait waits until the supervisor is to be asked again, or ctx has ended.
func (p *Page) wait(ctx context.Context, began time.Time) {
	interval := hourStep
	if p.isWatched() {
		interval = liveInterval
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(time.Until(began.Add(interval))):
		return
	case <-p.changed:
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(began.Add(minInterval))):
	}
}

func (p *Page) isWatched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.viewers) > 0
}

// addStatus keeps an answer, and sends the viewers what is another than before.
func (p *Page) addStatus(now time.Time, st api.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hour.Add(now, st)
	switch {
	case len(p.viewers) == 0:
		p.live = nil
	case p.live == nil:
		p.live = trend.New(liveInterval, livePoints)
		fallthrough
	default:
		p.live.Add(now, st)
	}
	facts := daemonFacts{Version: st.Version, Began: steady(now, -st.Uptime, p.daemon.Began), Connections: st.Connections, ConnectionLimit: st.ConnectionLimit, ShuttingDown: st.ShuttingDown, Acts: p.options.Acts}
	u := update{Now: now.UnixMilli()}
	if facts != p.daemon {
		p.daemon, u.Daemon = facts, &facts
	}
	order := make([]string, len(st.Apps))
	rows, encoded := make(map[string]*row, len(order)), make(map[string][]byte, len(order))
	for i := range st.Apps {
		a := &st.Apps[i]
		r := newRow(a, now, p.hour.Summary(a.Name), p.hour.Comparison(a.Name), p.rows[a.Name])
		text, _ := json.Marshal(r) // a row has no value that cannot be encoded
		order[i], rows[a.Name], encoded[a.Name] = a.Name, r, text
		if !slices.Equal(text, p.encoded[a.Name]) {
			u.Rows = append(u.Rows, text)
		}
	}
	if !slices.Equal(order, p.order) {
		p.order, u.Order = order, order
	}
	p.rows, p.encoded = rows, encoded
	for _, part := range u.parts() {
		p.publishLocked(message("update", part))
	}
}

// askFleet asks for the hosts, where there are any, and sends the viewers those that are others.
func (p *Page) askFleet(ctx context.Context, member bool) error {
	if !member {
		return nil
	}
	f, err := p.options.Source.Fleet(ctx)
	var known *api.Error
	switch {
	case ctx.Err() != nil || errors.As(err, &known) && known.Exit == api.ExitNotRunning: // it was in one a moment ago
		return nil
	case err != nil:
		return err
	}
	text, _ := json.Marshal(f) // it has no value that cannot be encoded
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(text, p.hosts) {
		return nil
	}
	p.fleet, p.hosts = &f, text
	p.publishLocked(message("update", update{Now: time.Now().UnixMilli(), Fleet: text}))
	return nil
}

// curve is a curve of an app for the browser, and the time of its last point.
type curve struct {
	Step int64     `json:"step"` // in ms
	End  int64     `json:"end"`  // in ms since 1970
	Rate []float64 `json:"rps"`
	Fail []float64 `json:"failing"`
	Held []int32   `json:"held"`
	P50  []float64 `json:"p50"`
	P95  []float64 `json:"p95"`
}

// curve returns the curves of an app, of the last hour or of the last minutes, or false if there is no
// such app.
func (p *Page) curve(app string, lastHour bool) (curve, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	recorder, n := p.hour, hourPoints
	if !lastHour && p.live != nil {
		recorder, n = p.live, livePoints
	}
	c := curve{Step: recorder.Step().Milliseconds(), End: time.Now().UnixMilli(), Rate: []float64{}, Fail: []float64{}, Held: []int32{}, P50: []float64{}, P95: []float64{}}
	if p.rows[app] == nil {
		return c, false
	}
	if !lastHour && p.live == nil {
		return c, true
	}
	points := recorder.Newest(app, n)
	if !lastHour {
		points = p.beforeLiveLocked(app, points)
	}
	for _, point := range points {
		c.Rate, c.Fail, c.Held = append(c.Rate, round(float64(point.PerSecond))), append(c.Fail, round(float64(point.Failing))), append(c.Held, point.Held)
		c.P50, c.P95 = append(c.P50, milli(float64(point.P50))), append(c.P95, milli(float64(point.P95)))
	}
	return c, true
}

// beforeLiveLocked puts before the points of the last minutes those of the time without a stream.
func (p *Page) beforeLiveLocked(app string, live []trend.Point) (all []trend.Point) {
	const each = int(hourStep / liveInterval)
	for _, point := range p.hour.Newest(app, livePoints/each) {
		all = append(all, slices.Repeat([]trend.Point{point}, each)...)
	}
	return append(all[:max(0, min(len(all), livePoints)-len(live))], live...)
}

// sparkPoints is how many values the small curve of an app in the table has, at most.
const sparkPoints = 60

// sparks are the requests per second of each app in the last hour, and the most that were held. All apps
// have the same time between two values: less than a minute as long as nothing is an hour old.
func (p *Page) sparks() map[string][2][]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string][2][]float64, len(p.order))
	longest := 0
	for _, app := range p.order {
		longest = max(longest, len(p.hour.Newest(app, hourPoints)))
	}
	each := max(1, (longest+sparkPoints-1)/sparkPoints)
	for _, app := range p.order {
		points := p.hour.Newest(app, hourPoints)
		rate, held := []float64{}, []float64{}
		for end := len(points); end > 0; end -= each { // the newest part is complete, the oldest may not be
			part := points[max(0, end-each):end]
			sum, most := 0.0, int32(0)
			for _, point := range part {
				sum, most = sum+float64(point.PerSecond), max(most, point.Held)
			}
			rate, held = append(rate, round(sum/float64(len(part)))), append(held, float64(most))
		}
		slices.Reverse(rate)
		slices.Reverse(held)
		all[app] = [2][]float64{rate, held}
	}
	return all
}
