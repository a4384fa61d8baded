package page

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"sync"
	"time"

	"tideover/supervisor/api"
)

//go:embed static
var static embed.FS

// index is the page as it is without the script. Only the admin process parses it.
var index = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("index.html").Funcs(template.FuncMap{
		"seconds": seconds, "bytes": sizeText, "share": shareText, "latency": latencyText, "busy": busyText, "mark": markText, "since": sinceText, "rollout": rolloutText, "turn": turnText,
	}).ParseFS(static, "static/index.html"))
})

// assets are the other files, and their types.
var assets = map[string]string{"page.js": "text/javascript; charset=utf-8", "page.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}

// Register adds the paths of the page.
func (p *Page) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", p.guard(p.index))
	mux.HandleFunc("GET /-/page/events", p.guard(p.events))
	mux.HandleFunc("GET /-/page/curves", p.guard(p.curves))
	mux.HandleFunc("GET /-/page/{file}", p.guard(p.asset))
	mux.HandleFunc("POST /-/page/output", p.guard(p.output))
	mux.HandleFunc("POST /-/page/actions/{action}", p.guard(p.act))
}

func (p *Page) asset(w http.ResponseWriter, r *http.Request) {
	mediaType, ok := assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	text, err := static.ReadFile("static/" + r.PathValue("file"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Write(text)
}

// view is what index shows.
type view struct {
	Host    string // name of the machine
	Daemon  daemonFacts
	Now     time.Time
	Rows    []*row
	Entries []*entry
	Fleet   *api.Fleet // nil: the host is in none
}

func (p *Page) index(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	v := view{Host: p.options.Host, Daemon: p.daemon, Now: time.Now(), Fleet: p.fleet}
	for _, name := range p.order {
		if shown := p.rows[name]; shown != nil {
			v.Rows = append(v.Rows, shown)
		}
	}
	for i := len(p.entries) - 1; i >= 0 && len(v.Entries) < 20; i-- {
		v.Entries = append(v.Entries, p.entries[i])
	}
	p.mu.Unlock()
	var text bytes.Buffer
	if err := index().Execute(&text, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(text.Bytes())
}

// curves answers with the curves of ?app=, of the last hour, or with &live of the last minutes, or
// without an app with the small ones of all.
func (p *Page) curves(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !q.Has("app") {
		writeJSON(w, http.StatusOK, p.sparks())
		return
	}
	c, ok := p.curve(q.Get("app"), !q.Has("live"))
	if !ok {
		http.Error(w, "no such app", http.StatusNotFound)
		return
	}
	writeJSON(w, http.StatusOK, c)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
}
