package supervisor

import (
	"slices"

	"tideover/supervisor/api"
)

// prepare opens what is to be open, and makes what is to be new.
func (c *changeover) prepare() error {
	for _, a := range c.all {
		if a.cfg == nil {
			continue
		}
		if a.old == nil || a.Change == api.ByReplace {
			m, err := c.roster.newMember(a.cfg)
			if err != nil {
				return err
			}
			a.fresh = m
		}
		for _, address := range a.cfg.Listen {
			d := c.spare(a, address)
			if d == nil {
				opened, err := c.roster.openDoor(a.cfg, address)
				if err != nil {
					return err
				}
				a.opened, d = append(a.opened, opened), opened
			}
			a.keeping = append(a.keeping, d)
		}
	}
	return nil
}

// spare finds the open door that an app is to have at an address: its own, or
// one that another app gives up. Without one, nil.
func (c *changeover) spare(a *alteration, address string) *door {
	for _, other := range c.all {
		if other.old == nil || other != a && other.cfg != nil && slices.Contains(other.cfg.Listen, address) {
			continue
		}
		if i := slices.IndexFunc(other.old.doors, func(d *door) bool { return d.address == address }); i >= 0 {
			return other.old.doors[i]
		}
	}
	return nil
}

// giveUp closes what was prepared.
func (a *alteration) giveUp() {
	for _, d := range a.opened {
		d.shut()
	}
	if a.fresh != nil {
		a.fresh.close()
	}
}

// detach takes from every app the doors it is not to have any more. One that
// changes hands stays open: who comes meanwhile waits in its backlog. Those of an
// app that goes stay until it is gone, if nobody wants them.
func (c *changeover) detach() {
	wanted := map[*door]bool{}
	for _, a := range c.all {
		for _, d := range a.keeping {
			wanted[d] = true
		}
	}
	for _, a := range c.all {
		if a.old == nil {
			continue
		}
		a.old.doors = slices.DeleteFunc(a.old.doors, func(d *door) bool {
			switch {
			case slices.Contains(a.keeping, d) && a.fresh == nil:
				return false
			case wanted[d]:
				d.stop()
				return true
			case a.cfg == nil:
				return false
			}
			d.shut()
			return true
		})
	}
}

// enrol makes the list of members what it is to be, with those that go at its
// end until they are gone.
func (c *changeover) enrol() {
	var members []*member
	for _, a := range c.all {
		if a.fresh == nil {
			members = append(members, a.old)
		} else {
			members = append(members, a.fresh)
		}
	}
	c.roster.members.Store(&members)
}

// settle gives an app its doors and its settings. A new one is not started yet:
// its clients wait.
func (a *alteration) settle(c *changeover) {
	switch {
	case a.cfg == nil:
		return
	case a.fresh != nil:
		a.fresh.doors = a.keeping
		c.roster.begin(a.fresh, []<-chan struct{}{make(chan struct{})}) // its turn comes when somebody asks for it
		return
	case a.Change == api.Unchanged:
		return
	}
	for _, d := range a.keeping {
		if !slices.Contains(a.old.doors, d) {
			d.accept(a.old.app)
		}
	}
	a.old.doors = a.keeping
	a.old.app.do(c.leaving, func() { a.old.app.adopt(a.cfg) })
}
