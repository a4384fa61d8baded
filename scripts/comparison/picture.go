package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// slot is the width of a column of the picture.
const slot = 200 * time.Millisecond

// answer is one request of a recording.
type answer struct {
	sent, ended time.Duration // since the begin
	release     string
	lost        bool
}

// event is a moment to be marked.
type event struct {
	at   time.Duration
	name string
}

// recording is what became of the requests around one command.
type recording struct {
	command string
	note    string
	answers []answer
	events  []event
	length  time.Duration
}

// drawPicture records a reload and a restart of tideover and a restart by supervisord, and draws them.
func drawPicture(ctx context.Context, path string) error {
	root, err := testenv.Repository()
	if err != nil {
		return err
	}
	if err := testenv.Build(ctx, root); err != nil {
		return err
	}
	var all []recording
	for _, p := range []struct {
		start    func(*contestant) error
		commands []string
	}{{startTideover, []string{"tideover reload shop", "tideover restart shop"}}, {startSupervisord, []string{"supervisorctl restart shop"}}} {
		some, err := record(ctx, p.start, p.commands)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	return os.WriteFile(path, []byte(draw(all)), 0o644)
}

// record starts a peer and records each command, with a new release.
func record(ctx context.Context, start func(*contestant) error, commands []string) (all []recording, err error) {
	c := &contestant{}
	if c.env, err = testenv.New("pic"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.env.Close(false)) }()
	if c.app, err = c.env.NewApp("shop", testenv.Release{Number: 1, Import: importTakes}); err != nil {
		return nil, err
	}
	if err := start(c); err != nil {
		return nil, err
	}
	if err := c.answers(ctx, startTimeout); err != nil {
		return nil, err
	}
	for _, command := range commands {
		r, err := c.record(ctx, command)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (c *contestant) record(ctx context.Context, command string) (recording, error) {
	r := recording{command: command}
	begun := time.Now()
	c.load = loadgen.Start(loadgen.Plan{Client: c.client(), Rate: rate, Mix: requests(), Each: func(a loadgen.Answer) {
		sent := a.Started.Sub(begun)
		r.answers = append(r.answers, answer{sent, sent + a.Waited, a.Echo["release"], a.Loss != ""})
	}})
	do := c.restart
	if strings.Contains(command, "reload") {
		do = c.reload
	}
	err := pause(ctx, 2*time.Second)
	if err == nil {
		_, err = c.app.DeployNext()
	}
	r.events = append(r.events, event{time.Since(begun), command})
	if err == nil {
		var exit int
		if exit, err = do(ctx); err == nil && exit != 0 {
			err = fmt.Errorf("%s: exit %d", command, exit)
		}
	}
	r.events = append(r.events, event{time.Since(begun), "exit 0"})
	if err == nil {
		err = c.waitQuiet(ctx, recovery)
	}
	if err == nil {
		err = pause(ctx, time.Second)
	}
	r.length = time.Since(begun)
	t := c.load.Stop()
	r.note = fmt.Sprintf("%d requests, %d lost, longest wait %.1f s", t.Ended, t.Lost(), t.Longest.Seconds())
	return r, err
}

const (
	pictureWidth = 860
	panelHeight  = 116
	panelLeft    = 46
	panelTop     = 40
	maxPerSecond = 90.0       // pixels
	full         = 2.2 * rate // answers a second at the top of a panel
)

// scale is what all panels have in common.
type scale struct {
	perSecond float64 // pixels
	waiting   float64 // requests at the top of a panel
}

// colors are those of the first release of a recording, the next one, what waits, and what is lost.
var colors = struct{ old, new, waits, lost string }{"#74a9cf", "#0b7285", "#f0a202", "#d62828"}

// draw has a panel for each recording: the answers of each release and the lost requests as columns,
// and the requests that wait as a line.
func draw(all []recording) string {
	var b strings.Builder
	height := panelTop + len(all)*(panelHeight+44) + 6
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n", pictureWidth, height, pictureWidth, height)
	s := scale{perSecond: maxPerSecond, waiting: rate}
	for _, r := range all {
		s.perSecond = min(s.perSecond, (pictureWidth-panelLeft-10)/r.length.Seconds())
		for i := range r.slots() {
			s.waiting = max(s.waiting, float64(r.waiting(i)))
		}
	}
	x := panelLeft
	for _, key := range []struct{ color, text string }{{colors.old, "answered by the old code"}, {colors.new, "by the new code"}, {colors.lost, "lost"}, {colors.waits, "waiting"}} {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="12" height="12" fill="%s"/><text x="%d" y="20">%s</text>`+"\n", x, key.color, x+17, key.text)
		x += 34 + 6*len(key.text)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#555" font-size="11">gunicorn -w %d, %d s to import · %d requests/s, each answer checked</text>`+"\n",
		pictureWidth-10, height-8, workers, importTakes, rate)
	for i, r := range all {
		r.draw(&b, panelTop+i*(panelHeight+44), s)
	}
	return b.String() + "</svg>\n"
}

func (r recording) draw(b *strings.Builder, top int, s scale) {
	bottom := top + 16 + panelHeight
	old := r.answers[0].release
	width := r.length.Seconds() * s.perSecond
	at := func(d time.Duration) float64 { return panelLeft + d.Seconds()*s.perSecond }
	color := "#2b8a3e"
	if !strings.Contains(r.note, " 0 lost") {
		color = colors.lost
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-family="monospace" font-weight="bold">$ %s</text><text x="%d" y="%d" text-anchor="end" fill="%s">%s</text>`+"\n",
		panelLeft, top+8, r.command, pictureWidth-10, top+8, color, r.note)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="#f6f7f8"/>`+"\n", panelLeft, top+16, width, panelHeight)
	y := func(n float64) float64 { return float64(bottom) - min(n/full, 1)*panelHeight }
	for i := range r.slots() {
		from, to := time.Duration(i)*slot, time.Duration(i+1)*slot
		counts := map[string]float64{}
		for _, a := range r.answers {
			if a.ended < from || a.ended >= to {
				continue
			}
			switch {
			case a.lost:
				counts[colors.lost]++
			case a.release == old:
				counts[colors.old]++
			default:
				counts[colors.new]++
			}
		}
		base := 0.0
		for _, c := range []string{colors.old, colors.new, colors.lost} {
			n := counts[c] / slot.Seconds()
			if n > 0 {
				fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", at(from), y(base+n), slot.Seconds()*s.perSecond-1, y(base)-y(base+n), c)
			}
			base += n
		}
	}
	r.drawWaiting(b, at, func(n float64) float64 { return float64(bottom) - n/s.waiting*panelHeight*0.9 })
	for i, e := range r.events {
		name := e.name
		if i == 0 {
			name = "begins"
		}
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#555" stroke-dasharray="3 3"/><text x="%.1f" y="%d" fill="#555" font-size="11" text-anchor="end">%s</text>`+"\n",
			at(e.at), at(e.at), top+16, bottom, at(e.at)-4, top+28, name)
	}
	for i := range int(r.length.Seconds()) + 1 {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="#555" font-size="11" text-anchor="middle">%d s</text>`+"\n", at(time.Duration(i)*time.Second), bottom+13, i)
	}
	for _, n := range []int{rate, 2 * rate} {
		fmt.Fprintf(b, `<text x="%d" y="%.1f" fill="#555" font-size="11" text-anchor="end">%d/s</text>`+"\n", panelLeft-4, y(float64(n))+4, n)
	}
}

// slots is the number of columns.
func (r recording) slots() int { return int(r.length / slot) }

// waiting is how many requests waited in the middle of a column: those that had been sent for more than
// a fifth of a second, and had not ended.
func (r recording) waiting(column int) (n int) {
	now := time.Duration(column)*slot + slot/2
	for _, a := range r.answers {
		if a.sent < now-slot && a.ended > now {
			n++
		}
	}
	return n
}

// drawWaiting draws how many requests waited, and writes their largest number.
func (r recording) drawWaiting(b *strings.Builder, at func(time.Duration) float64, y func(float64) float64) {
	var points []string
	peak, column := 0, 0
	for i := range r.slots() {
		n := r.waiting(i)
		if n > peak {
			peak, column = n, i
		}
		points = append(points, fmt.Sprintf("%.1f,%.1f", at(time.Duration(i)*slot+slot/2), y(float64(n))))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colors.waits)
	if peak > 0 {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end" fill="#9a6700">%d wait</text>`+"\n", at(time.Duration(column)*slot)-6, y(float64(peak))+10, peak)
	}
}
