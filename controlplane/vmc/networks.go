package vmc

import (
	"baton/controlplane/model"
)

// hostNetwork is the queue of objects that belong to no network: the hosts.
const hostNetwork = ""

// networks says which virtual network each switch and router belongs to. A
// network is named after the first, by kind and name, of its datapaths.
type networks struct {
	stale bool
	of    map[model.Ref]model.Ref
}

// change notes that the joins between datapaths may have changed.
func (n *networks) change(old, now model.Object) {
	for _, o := range []model.Object{old, now} {
		switch o := o.(type) {
		case *model.Switch, *model.Router:
			n.stale = true
		case *model.Port:
			n.stale = n.stale || o.IsLink()
		}
	}
}

// find is the root of r's network, with the path to it shortened.
func (n *networks) find(r model.Ref) model.Ref {
	for n.of[r] != r {
		up, ok := n.of[r]
		if !ok {
			n.of[r] = r
			return r
		}
		n.of[r] = n.of[up]
		r = n.of[r]
	}
	return r
}

// join makes one network of two; the first by kind and name gives its name.
func (n *networks) join(a, b model.Ref) {
	a, b = n.find(a), n.find(b)
	if b.Kind < a.Kind || b.Kind == a.Kind && b.Name < a.Name {
		a, b = b, a
	}
	n.of[b] = a
}

// rebuild finds the networks of s, if they may have changed.
//
//	cost: by the number of ports; only after a change of a router's port, a
//	      router or a switch
func (n *networks) rebuild(s *model.State) {
	if n.of != nil && !n.stale {
		return
	}
	n.stale, n.of = false, map[model.Ref]model.Ref{}
	for _, p := range s.Ports {
		if p.IsLink() {
			n.join(model.Ref{Kind: model.KindSwitch, Name: p.Switch}, model.Ref{Kind: model.KindRouter, Name: p.Router})
		}
	}
}

// queueOf is the name of the queue for an object.
func (n *networks) queueOf(o model.Object) string {
	var r model.Ref
	switch o := o.(type) {
	case *model.Switch, *model.Router:
		r = o.Ref()
	case *model.Port:
		r = model.Ref{Kind: model.KindSwitch, Name: o.Switch}
	case *model.Route:
		r = model.Ref{Kind: model.KindRouter, Name: o.Router}
	default:
		return hostNetwork
	}
	return n.find(r).String()
}
