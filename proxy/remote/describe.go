package remote

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"tideover/proxy/gate"
)

// A Description is what a relay has, for a supervisor that takes it over from one that has died.
type Description struct {
	Apps      []AppDescription  `json:"apps"`  // in the order of their numbers
	Doors     []DoorDescription `json:"doors"` // in the order of their numbers
	Announced bool              `json:"announced,omitempty"`
}

// AppDescription is one app. How many requests are in flight and held is in the Page.
type AppDescription struct {
	App         AppID                   `json:"app"`
	Name        string                  `json:"name"`
	Version     uint64                  `json:"version"` // of the last Set
	Target      int                     `json:"target"`  // generation that gets the requests; 0: none
	Holds       []Hold                  `json:"holds,omitempty"`
	Refusal     *Refusal                `json:"refusal,omitempty"`
	Access      uint64                  `json:"access,omitempty"`      // number of the pipe for the access log
	Generations []GenerationDescription `json:"generations,omitempty"` // in the order of their numbers
}

// GenerationDescription is a generation of which a request may be in flight.
type GenerationDescription struct {
	Generation int    `json:"generation"`
	Exited     bool   `json:"exited,omitempty"` // its main process has
	Gone       bool   `json:"gone,omitempty"`   // that was said
	Proof      uint64 `json:"proof,omitempty"`  // number of the last one
}

// DoorDescription is a socket from which connections are accepted.
type DoorDescription struct {
	Door uint64 `json:"door"`
	App  AppID  `json:"app"`
}

// Describe says what the relay has.
func (l *Local) Describe(context.Context) (Description, error) {
	l.mu.Lock()
	apps := maps.Clone(l.apps)
	d := Description{}
	for number, door := range l.doors {
		d.Doors = append(d.Doors, DoorDescription{number, door.app})
	}
	l.mu.Unlock()
	slices.SortFunc(d.Doors, func(a, b DoorDescription) int { return cmp.Compare(a.Door, b.Door) })
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		d.Apps = append(d.Apps, apps[id].describe(id))
	}
	select {
	case <-l.announced:
		d.Announced = true
	default:
	}
	return d, nil
}

func (a *localApp) describe(id AppID) AppDescription {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := AppDescription{App: id, Name: a.name, Version: a.version, Target: a.current, Holds: a.desired.Holds, Refusal: a.desired.Refusal, Access: a.access}
	for _, number := range slices.Sorted(maps.Keys(a.targets)) {
		t := a.targets[number]
		t.proving.Lock()
		g := GenerationDescription{Generation: number, Exited: t.exited, Gone: t.gone.Load()}
		if t.proof != nil {
			g.Proof = t.proof.Number
		}
		t.proving.Unlock()
		d.Generations = append(d.Generations, g)
	}
	return d
}

// TakenOver drops what a supervisor that has died was in the middle of: counts since its marks,
// and the reclaiming of a backlog whose generation serves.
func (l *Local) TakenOver() {
	l.mu.Lock()
	observations, apps := l.observations, maps.Clone(l.apps)
	l.observations = map[uint64]*gate.Observation{}
	l.mu.Unlock()
	for _, o := range observations {
		o.End()
	}
	for _, a := range apps {
		a.mu.Lock()
		serving := a.targets[a.current]
		a.mu.Unlock()
		if serving != nil && serving.backlog != nil {
			serving.backlog.end()
		}
	}
}
