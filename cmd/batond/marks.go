package main

import (
	"sync"

	"baton/upgrade/lease"
)

// marks says which of the marks on a board are which port's: by them the standby knows, when this
// process has died, whether it has a port's last state. Where it has not, it does not go on with
// what may be the guest's for something else now, nor with a session whose last message nobody
// answers.
//
//	conc: safe
type marks struct {
	board *lease.Board // nil: no standby is kept

	mu   sync.Mutex // guards what follows
	used map[string]int
	free []int // once used
}

// copyOf is what a copy of a port's state is one of.
type copyOf struct {
	Mark     int    `json:"mark,omitempty"` // counted from 1; 0: none
	Revision uint64 `json:"revision,omitempty"`
}

func newMarks(b *lease.Board) *marks { return &marks{board: b, used: map[string]int{}} }

// of is a port's mark; false if there is none. A port that comes gets one.
func (m *marks) of(port string) (i int, mark lease.Mark, ok bool) {
	if m.board == nil {
		return 0, mark, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok = m.used[port]
	if !ok {
		if i, ok = m.next(); !ok {
			return 0, mark, false
		}
		m.used[port] = i
		m.board.Mark(i).Change() // who had it before is another one
	}
	return i, m.board.Mark(i), true
}

// next is one that nobody uses. Caller holds mu.
func (m *marks) next() (i int, ok bool) {
	if n := len(m.free); n > 0 {
		i, m.free = m.free[n-1], m.free[:n-1]
		return i, true
	}
	return len(m.used), len(m.used) < lease.Marks
}

// drop is told that a port is gone.
func (m *marks) drop(port string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.used[port]; ok {
		delete(m.used, port)
		m.free = append(m.free, i)
	}
}

// changed is told of a change of a port's state before anybody acts on it.
func (m *marks) changed(port string) {
	if _, mark, ok := m.of(port); ok {
		mark.Change()
	}
}

// busy is told what proto.Config.Busy is; nil if nobody asks.
func (m *marks) busy(port string) func(bool) {
	_, mark, ok := m.of(port)
	if !ok {
		return nil
	}
	return mark.Busy
}

// copyOf is what a copy of the port's state is one of that is made after the call.
func (m *marks) copyOf(port string) copyOf {
	i, mark, ok := m.of(port)
	if !ok {
		return copyOf{}
	}
	return copyOf{1 + i, mark.Revision()}
}

// last reports whether the copy is the last one by the board of the process that is dead. One that
// came without a mark, from a process of another version, counts as such.
func (c copyOf) last(b *lease.Board) bool {
	return c.Mark == 0 || c.Mark > 0 && c.Mark <= lease.Marks && b.Mark(c.Mark-1).Last(c.Revision)
}
