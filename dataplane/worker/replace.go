package worker

import (
	"fmt"

	"baton/dataplane/port"
)

// ReplacePort puts pt in the place of the port of that name: a port that wraps it, or the
// one that was wrapped. Slot, counters and the owner of each queue stay, so that flows keep
// their order, and packets on their way between two workers go by pt. When it returns, no
// worker holds anything of the old port, which is the caller's again; pt stays the caller's.
//
// Meanwhile either port is used, but queue i of pt only after queue i of the old one: its
// worker calls Attach(nil) of the one, then Attach of the other. So the two may share what
// they poll. Whether the port is an underlay is as it was, whatever pt's kind. What the old
// queues told as dropped late (port.LateDropper, port.TooBigDropper), those of pt go on
// telling: the port's counters subtract that number and no other.
//
//	error: no such port, pt has another name or number of queues, the pool is closed;
//	nothing was changed
func (p *Pool) ReplacePort(name string, pt port.Port) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.layout.Load()
	at, ok := now.names[name]
	switch {
	case p.closed:
		return fmt.Errorf("port %s: the workers have ended", name)
	case !ok:
		return fmt.Errorf("port %s: there is no port of this name", name)
	case pt.Name() != name:
		return fmt.Errorf("port %s: it cannot be replaced by one of another name, %s", name, pt.Name())
	case pt.NumQueues() != len(now.slots[at].queues):
		return fmt.Errorf("port %s: it has %d queues, and what is to replace it %d", name, len(now.slots[at].queues), pt.NumQueues())
	}
	next := now.clone()
	s := &next.slots[at]
	s.port, s.queues = pt, make([]port.Queue, pt.NumQueues()) // the former slice is now's
	for i := range s.queues {
		s.queues[i] = pt.Queue(i)
	}
	p.publish(next)
	return nil
}
