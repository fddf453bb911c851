package worker

import (
	"baton/dataplane/flow"
	"baton/dataplane/port"
)

// Ports are numbered by slots while they are attached. These slots are none:
const (
	slotUnbound = 0xffff // the logical port is bound to no port of this host
	slotDown    = 0xfffe // it is bound to a port that is not attached
)

// layout is the ports and who polls them. Control makes a new one for each
// change; workers take it up at the start of an iteration.
//
//	conc: immutable
type layout struct {
	epoch  uint64
	stop   bool              // workers are to end
	slots  []slot            // by number; a slot without port is free
	names  map[string]uint16 // slot of a port
	uplink uint16            // where tunnels leave; slotDown if there is none
}

// slot is one attached port.
type slot struct {
	port     port.Port // nil: free
	name     string
	underlay bool         // its frames are outer frames: the tunnel end point takes them
	queues   []port.Queue // by number
	owner    []int        // worker of each queue
}

// clone is a copy to edit, with the next epoch.
func (l *layout) clone() *layout {
	n := &layout{epoch: l.epoch + 1, stop: l.stop, uplink: slotDown, names: make(map[string]uint16, len(l.names)+1)}
	n.slots = append(n.slots, l.slots...)
	for name, s := range l.names {
		n.names[name] = s
	}
	return n
}

// settle finds the uplink: the first underlay port.
func (l *layout) settle() {
	l.uplink = slotDown
	for i := range l.slots {
		if l.slots[i].port != nil && l.slots[i].underlay {
			l.uplink = uint16(i)
			return
		}
	}
}

// rxQueue is a queue that a worker polls.
type rxQueue struct {
	q        port.Queue
	slot     uint16
	underlay bool
	number   flow.PortNo // of the logical port; PortNone while none is bound
}

// txQueue is a queue that a worker may send to.
type txQueue struct {
	q  port.Queue
	en port.Enabler // nil: always enabled
}

func newTxQueue(q port.Queue) txQueue {
	en, _ := q.(port.Enabler)
	return txQueue{q: q, en: en}
}

// enabled reports whether packets may be sent to the queue.
func (t *txQueue) enabled() bool { return t.en == nil || t.en.Enabled() }

// output is a worker's way to a port.
type output struct {
	own      []txQueue // queues of the port that the worker owns
	far      txQueue   // a queue that another worker owns; q is nil if there is none
	owner    int       // of far
	maxFrame int       // bytes; longer frames are too big
}

// noLimit is the maxFrame of ports whose MTU is not limited: longer than any frame.
const noLimit = 1 << 20

// outputOf is worker id's way to the port in s.
func outputOf(s *slot, id int) output {
	o := output{maxFrame: noLimit}
	for i, q := range s.queues {
		if s.owner[i] == id {
			o.own = append(o.own, newTxQueue(q))
		}
	}
	// Queue 0 of a guest is always there. Of a device whose queues are always
	// enabled, workers without a queue share all of them.
	i := 0
	if len(o.own) == 0 && newTxQueue(s.queues[0]).en == nil {
		i = id % len(s.queues)
	}
	if s.owner[i] != id {
		o.far, o.owner = newTxQueue(s.queues[i]), s.owner[i]
	}
	return o
}

// free is the number of a slot without port; the slots grow if they must.
// MaxPorts if there is none.
func (l *layout) free() int {
	for i := range l.slots {
		if l.slots[i].port == nil {
			return i
		}
	}
	if len(l.slots) < MaxPorts {
		l.slots = append(l.slots, slot{})
		return len(l.slots) - 1
	}
	return MaxPorts
}

// assign spreads num queues of a new port over the workers.
func (l *layout) assign(num, workers int) []int {
	load := make([]int, workers) // queues of all ports
	for i := range l.slots {
		for _, w := range l.slots[i].owner {
			load[w]++
		}
	}
	mine := make([]int, workers) // queues of this port
	owner := make([]int, num)
	for i := range owner {
		best := 0
		for w := range workers {
			if mine[w] < mine[best] || mine[w] == mine[best] && load[w] < load[best] {
				best = w
			}
		}
		owner[i] = best
		mine[best]++
		load[best]++
	}
	return owner
}
