package model

import (
	"maps"
	"slices"
)

// State is a whole logical network. The maps are by name. Objects in it are
// never changed, only replaced. The zero State is empty and can be read; use
// NewState for one that can be filled.
type State struct {
	Hosts    map[string]*Host
	Switches map[string]*Switch
	Routers  map[string]*Router
	Ports    map[string]*Port
	Routes   map[string]*Route
}

// NewState is an empty network with the objects in it; of two with one name the later stays.
func NewState(objects ...Object) *State {
	s := &State{
		Hosts:    map[string]*Host{},
		Switches: map[string]*Switch{},
		Routers:  map[string]*Router{},
		Ports:    map[string]*Port{},
		Routes:   map[string]*Route{},
	}
	for _, o := range objects {
		s.Set(o)
	}
	return s
}

// Set puts o in, in place of the object of the same kind and name. The state
// keeps o: the caller must not change it any more.
func (s *State) Set(o Object) {
	switch o := o.(type) {
	case *Host:
		s.Hosts[o.Name] = o
	case *Switch:
		s.Switches[o.Name] = o
	case *Router:
		s.Routers[o.Name] = o
	case *Port:
		s.Ports[o.Name] = o
	case *Route:
		s.Routes[o.Name] = o
	}
}

// Remove takes an object out; nothing happens if it is not there.
func (s *State) Remove(r Ref) {
	switch r.Kind {
	case KindHost:
		delete(s.Hosts, r.Name)
	case KindSwitch:
		delete(s.Switches, r.Name)
	case KindRouter:
		delete(s.Routers, r.Name)
	case KindPort:
		delete(s.Ports, r.Name)
	case KindRoute:
		delete(s.Routes, r.Name)
	}
}

// Get is the object, nil if it is not there.
func (s *State) Get(r Ref) Object {
	switch r.Kind {
	case KindHost:
		return found(s.Hosts, r.Name)
	case KindSwitch:
		return found(s.Switches, r.Name)
	case KindRouter:
		return found(s.Routers, r.Name)
	case KindPort:
		return found(s.Ports, r.Name)
	case KindRoute:
		return found(s.Routes, r.Name)
	}
	return nil
}

// found keeps a nil pointer from becoming an Object that is not nil.
func found[T Object](m map[string]T, name string) Object {
	if o, ok := m[name]; ok {
		return o
	}
	return nil
}

// List is the objects of a kind by name, all kinds in the order of Kinds if k is empty.
func (s *State) List(k Kind) []Object {
	var all []Object
	for _, kind := range Kinds() {
		if k != "" && k != kind {
			continue
		}
		switch kind {
		case KindHost:
			all = appendSorted(all, s.Hosts)
		case KindSwitch:
			all = appendSorted(all, s.Switches)
		case KindRouter:
			all = appendSorted(all, s.Routers)
		case KindPort:
			all = appendSorted(all, s.Ports)
		case KindRoute:
			all = appendSorted(all, s.Routes)
		}
	}
	return all
}

func appendSorted[T Object](all []Object, m map[string]T) []Object {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[name])
	}
	return all
}

// Len is the number of objects.
func (s *State) Len() int {
	return len(s.Hosts) + len(s.Switches) + len(s.Routers) + len(s.Ports) + len(s.Routes)
}

// Clone is a state that can be changed without changing s; the objects are shared.
func (s *State) Clone() *State {
	c := NewState()
	maps.Copy(c.Hosts, s.Hosts)
	maps.Copy(c.Switches, s.Switches)
	maps.Copy(c.Routers, s.Routers)
	maps.Copy(c.Ports, s.Ports)
	maps.Copy(c.Routes, s.Routes)
	return c
}

// Change is one object that was set, or with Object nil removed.
type Change struct {
	Ref    Ref
	Object Object
}

// Apply makes the changes in s, in order.
func (s *State) Apply(changes []Change) {
	for _, c := range changes {
		if c.Object == nil {
			s.Remove(c.Ref)
		} else {
			s.Set(c.Object)
		}
	}
}

// Diff is the changes that turn s into to: removals first (what refers before
// what is referred to), then sets (the other way round).
func (s *State) Diff(to *State) []Change {
	var all []Change
	olds := s.List("")
	for i := len(olds) - 1; i >= 0; i-- {
		if to.Get(olds[i].Ref()) == nil {
			all = append(all, Change{Ref: olds[i].Ref()})
		}
	}
	for _, o := range to.List("") {
		if !Equal(s.Get(o.Ref()), o) {
			all = append(all, Change{o.Ref(), o})
		}
	}
	return all
}

// Equal reports whether two objects are the same in every field, status included; nil equals nil.
func Equal(a, b Object) bool {
	switch a := a.(type) {
	case *Host:
		b, ok := b.(*Host)
		if !ok || (a.Gateway == nil) != (b.Gateway == nil) {
			return false
		}
		if a.Gateway != nil && *a.Gateway != *b.Gateway {
			return false
		}
		x, y := *a, *b
		x.Gateway, y.Gateway = nil, nil
		return x == y
	case *Switch:
		b, ok := b.(*Switch)
		return ok && *a == *b
	case *Router:
		b, ok := b.(*Router)
		return ok && *a == *b
	case *Port:
		b, ok := b.(*Port)
		return ok && *a == *b
	case *Route:
		b, ok := b.(*Route)
		return ok && *a == *b
	}
	return a == nil && b == nil
}
