package relay

import (
	"fmt"
	"sync"
	"sync/atomic"

	"baton/dataplane/port"
)

// Workers are those of a process.
type Workers interface {
	port.Quiescer
	// Flush returns when all that workers had handed to one another has been sent, and what a device
	// sends with the next poll, too.
	Flush()
	// Visit has the workers look at a port before others, those that sleep too.
	Visit(port string)
}

// Link is one process' end of an Area.
//
//	conc: safe
type Link struct {
	area  *Area
	side  Side
	quiet Workers
	inbox *Inbox

	gates []atomic.Pointer[Gate] // by number; nil: none

	mu    sync.Mutex
	lanes map[port.Waker]int // of the workers, see Inbox
}

// NewLink is the end of a process on side, whose workers quiet waits for. Its Inbox must be
// among the workers' ports before any gate is.
func NewLink(a *Area, side Side, quiet Workers) *Link {
	l := &Link{area: a, side: side, quiet: quiet, lanes: map[port.Waker]int{}, gates: make([]atomic.Pointer[Gate], a.shape.Ports)}
	l.inbox = newInbox(l)
	return l
}

// Inbox is the port by which packets come from the other process.
func (l *Link) Inbox() *Inbox { return l.inbox }

// Gate is a new gate for the port with number index and so many queue pairs. With a device it
// is this process' port, else the other one's.
//
//	error: more ports or queues than the area is for
func (l *Link) Gate(name string, index, queues int, d Device) (*Gate, error) {
	if index < 0 || index >= len(l.gates) || queues < 1 || 2*queues > MaxRings {
		return nil, fmt.Errorf("relay: port %s: number %d with %d queues: more than was agreed on", name, index, queues)
	}
	g := &Gate{name: name, index: index, link: l, baton: l.area.baton(index), device: d}
	for i := range queues {
		q := &gateQueue{gate: g, num: i, lane: -1, far: -1}
		g.queues = append(g.queues, q)
		if d != nil {
			q.inner.Store(newInner(d.Queue(i)))
		}
	}
	if d != nil {
		g.heard = true
		g.baton.begin(l.side)
		g.state.Store(stateDirect)
	}
	l.gates[index].Store(g)
	return g, nil
}

// gate is the gate with a number that came from the other process; nil if there is none.
func (l *Link) gate(index uint16) *Gate {
	if int(index) >= len(l.gates) {
		return nil
	}
	return l.gates[index].Load()
}

// enter notes that the worker with this waker polls lane; leave that it does no more.
func (l *Link) enter(w port.Waker, lane int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes[w] = lane
}

func (l *Link) leave(w port.Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lanes, w)
}

// lane is that of the worker with this waker, -1 if it has none.
func (l *Link) lane(w port.Waker) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lane, ok := l.lanes[w]; ok && w != nil {
		return lane
	}
	return -1
}
