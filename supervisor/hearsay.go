package supervisor

import (
	"maps"
	"sync"

	"tideover/supervisor/config"
)

// hearsay is what gunicorns have said of themselves, by app: the last time, and
// to a former program of this process, which need not be asked once more while
// clients wait.
type hearsay struct {
	mu   sync.Mutex // guards both
	last map[string]config.Answer
	left map[string]config.Answer
}

// hear returns gunicorn's answer for an app.
func (h *house) hear(cfg *config.App) (config.Answer, error) {
	said := h.hearsay
	said.mu.Lock()
	answer, known := said.left[cfg.Name]
	delete(said.left, cfg.Name)
	said.mu.Unlock()
	if !known {
		var err error
		if answer, err = h.askGunicorn(cfg); err != nil {
			return answer, err
		}
	}
	said.mu.Lock()
	said.last[cfg.Name] = answer
	said.mu.Unlock()
	return answer, nil
}

// all is what was said last.
func (s *hearsay) all() map[string]config.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.last)
}

// newHearsay begins with what was left.
func newHearsay(e *Estate) *hearsay {
	s := &hearsay{last: map[string]config.Answer{}, left: map[string]config.Answer{}}
	if e != nil {
		maps.Copy(s.left, e.Hearsay)
	}
	return s
}
