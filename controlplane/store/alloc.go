package store

import (
	"cmp"
	"fmt"

	"baton/controlplane/model"
)

// inherit is the object to store: what the user wrote, with the ids that the
// object had before. The problem is not empty if it cannot take the old one's place.
func inherit(o, old model.Object) (_ model.Object, problem string) {
	switch n := model.Clone(o).(type) {
	case *model.Host:
		n.Status = model.HostState{}
		return n, ""
	case *model.Switch:
		n.Status = model.DatapathState{VNI: n.VNI}
		if was, ok := old.(*model.Switch); ok {
			n.Status.VNI = cmp.Or(n.VNI, was.Status.VNI)
		}
		return n, ""
	case *model.Router:
		n.Status = model.DatapathState{VNI: n.VNI}
		if was, ok := old.(*model.Router); ok {
			n.Status.VNI = cmp.Or(n.VNI, was.Status.VNI)
		}
		return n, ""
	case *model.Port:
		n.Status = model.PortState{ID: n.ID, MAC: n.HW()}
		was, ok := old.(*model.Port)
		if !ok {
			return n, ""
		}
		if was.Router != n.Router {
			problem = "a port does not change its router; delete it and make it anew"
		}
		if was.Switch == n.Switch {
			n.Status.ID = cmp.Or(n.ID, was.Status.ID)
		}
		n.Status.RouterID = was.Status.RouterID
		return n, problem
	default:
		return n, ""
	}
}

// numbers is a set of ids in use.
type numbers[N uint16 | uint32] struct {
	used map[N]bool
	last N // the highest one
}

func (n *numbers[N]) take(id N) {
	if id == 0 {
		return
	}
	if n.used == nil {
		n.used = map[N]bool{}
	}
	n.used[id] = true
	n.last = max(n.last, id)
}

// free takes an id that is not in use: the one after the highest, so that an id
// is not soon used again for something else, and when there is none the lowest
// free one; 0 if all are taken.
func (n *numbers[N]) free(highest N) N {
	if n.last < highest {
		n.take(n.last + 1)
		return n.last
	}
	for id := N(1); ; id++ {
		if !n.used[id] {
			n.take(id)
			return id
		}
		if id == highest {
			return 0
		}
	}
}

// allocate gives ids to those of the objects, which are in s, that have none.
func allocate(s *model.State, objects []model.Object) (ps model.Problems) {
	a := allocator{ports: map[string]*numbers[uint16]{}, links: map[string]*numbers[uint16]{}}
	a.note(s)
	fail := func(o model.Object, field, text string) {
		ps = append(ps, model.Problem{Ref: o.Ref(), Field: field, Text: text})
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *model.Switch:
			if o.Status.VNI == 0 {
				if o.Status.VNI = a.vnis.free(model.MaxVNI); o.Status.VNI == 0 {
					fail(o, "vni", fmt.Sprintf("all %d ids are taken; delete a switch or router first", model.MaxVNI))
				}
			}
		case *model.Router:
			if o.Status.VNI == 0 {
				if o.Status.VNI = a.vnis.free(model.MaxVNI); o.Status.VNI == 0 {
					fail(o, "vni", fmt.Sprintf("all %d ids are taken; delete a switch or router first", model.MaxVNI))
				}
			}
		case *model.Port:
			if o.Status.ID == 0 {
				if o.Status.ID = of(a.ports, o.Switch).free(model.MaxPortID); o.Status.ID == 0 {
					fail(o, "id", fmt.Sprintf("switch %s has %d ports, which is all it can have", o.Switch, model.MaxPortID))
				}
			}
			if o.IsLink() && o.Status.RouterID == 0 {
				if o.Status.RouterID = of(a.links, o.Router).free(model.MaxPortID); o.Status.RouterID == 0 {
					fail(o, "router", fmt.Sprintf("router %s has %d ports, which is all it can have", o.Router, model.MaxPortID))
				}
			}
		}
	}
	return ps
}

// allocator knows the ids in use.
type allocator struct {
	vnis  numbers[uint32]
	ports map[string]*numbers[uint16] // by switch
	links map[string]*numbers[uint16] // by router
}

func of(m map[string]*numbers[uint16], name string) *numbers[uint16] {
	if m[name] == nil {
		m[name] = &numbers[uint16]{}
	}
	return m[name]
}

// note takes all ids that objects of s have; those that the user chose are there already.
func (a *allocator) note(s *model.State) {
	for _, w := range s.Switches {
		a.vnis.take(w.ID())
	}
	for _, r := range s.Routers {
		a.vnis.take(r.ID())
	}
	for _, p := range s.Ports {
		of(a.ports, p.Switch).take(p.SwitchID())
		if p.IsLink() {
			of(a.links, p.Router).take(p.Status.RouterID)
		}
	}
}
