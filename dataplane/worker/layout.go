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
	settler  port.Settler // nil: nothing to do when it misses a turn
	carrier  port.Carrier // nil: all packets come by Rx
	slot     uint16
	underlay bool
	number   flow.PortNo // of the logical port; PortNone while none is bound
	debt     uint64      // tables that walks for its packets looked into and that are not paid for by waiting
}

// txQueue is a queue that a worker may send to.
type txQueue struct {
	q  port.Queue
	en port.Enabler   // nil: always enabled
	of port.Offloader // nil: takes no frame that asks for offloads
}

func newTxQueue(q port.Queue) txQueue {
	en, _ := q.(port.Enabler)
	of, _ := q.(port.Offloader)
	return txQueue{q: q, en: en, of: of}
}

// offloads is what the queue takes unfinished, now.
func (t *txQueue) offloads() port.Offloads {
	if t.of == nil {
		return 0
	}
	return t.of.Offloads()
}

// enabled reports whether packets may be sent to the queue.
func (t *txQueue) enabled() bool { return t.en == nil || t.en.Enabled() }

// output is a worker's way to a port.
type output struct {
	own      []txQueue // queues of the port that the worker owns
	far      []txQueue // those of other workers
	owner    []int     // of each far queue
	maxFrame int       // bytes of a frame without VLAN tag; longer ones are too big
}

// noLimit is the maxFrame of ports whose MTU is not limited: longer than any frame.
const noLimit = 1 << 20

// outputOf is worker id's way to the port in s.
func outputOf(s *slot, id int) output {
	o := output{maxFrame: noLimit}
	for i, q := range s.queues {
		if s.owner[i] == id {
			o.own = append(o.own, newTxQueue(q))
		} else {
			o.far, o.owner = append(o.far, newTxQueue(q)), append(o.owner, s.owner[i])
		}
	}
	return o
}

// live reports whether the port takes packets: one of its queues is enabled.
func (o *output) live() bool {
	for i := range o.own {
		if o.own[i].enabled() {
			return true
		}
	}
	for i := range o.far {
		if o.far[i].enabled() {
			return true
		}
	}
	return false
}

// helper is the worker that sends for worker id, which has no enabled queue of the
// port: the owner of one that is enabled. Workers without queue are spread over
// the enabled ones, and each keeps to its own while the same ones are enabled:
// so flows keep their order. can is what the queue takes unfinished; the port's other
// queues take the same. False if none is enabled.
func (o *output) helper(id int) (worker int, can port.Offloads, ok bool) {
	var live [MaxQueues]uint8
	num := 0
	for i := range o.far {
		if o.far[i].enabled() {
			live[num&(MaxQueues-1)] = uint8(i)
			num++
		}
	}
	if num == 0 {
		return 0, 0, false
	}
	i := live[id%num&(MaxQueues-1)]
	return o.owner[i], o.far[i].offloads(), true
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
