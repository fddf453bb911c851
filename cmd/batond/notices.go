package main

import (
	"context"
	"sync"

	"baton/controlplane/openflow"
)

// notices are ports of which the controller is to be told. Who notes one does not wait for what
// is to be told to be found out, which looks at all ports: a VM may wait for it.
//
//	conc: safe
type notices struct {
	wake chan struct{} // cap 1

	mu    sync.Mutex
	ports map[string]bool
}

func newNotices() *notices {
	return &notices{wake: make(chan struct{}, 1), ports: map[string]bool{}}
}

// put notes that a port has changed.
func (n *notices) put(name string) {
	n.mu.Lock()
	n.ports[name] = true
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take is what was noted since the last call.
func (n *notices) take() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.ports
	n.ports = map[string]bool{}
	return all
}

// notify tells the agent of ports that have changed until ctx ends.
func (h *host) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.notices.wake:
			names := h.notices.take() // what changes from now on is noted again
			now := map[string]*openflow.PortStatus{}
			for _, p := range h.target.Ports() {
				now[p.Name] = p
			}
			for name := range names {
				p := now[name]
				if p == nil {
					p = &openflow.PortStatus{Event: openflow.PortStatus_EVENT_REMOVED, Name: name}
				} else {
					p.Event = openflow.PortStatus_EVENT_CHANGED
				}
				h.agent.PortChanged(p)
			}
		}
	}
}
