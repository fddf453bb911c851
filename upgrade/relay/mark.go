package relay

import (
	"errors"
	"time"
)

// mark is how far one side had written its rings at some moment, by ring.
type mark struct {
	from  Side
	heads []uint64
}

// mark is that of now.
func (a *Area) mark(from Side) mark {
	m := mark{from: from}
	a.each(from, func(_ int, r *ringState) { m.heads = append(m.heads, r.head.Load()) })
	return m
}

// passed reports whether the other side has read all that was written before m.
func (a *Area) passed(m *mark) bool {
	all := true
	a.each(m.from, func(i int, r *ringState) { all = all && int64(m.heads[i]-r.tail.Load()) <= 0 })
	return all
}

// each calls f for all rings of a side.
func (a *Area) each(from Side, f func(i int, r *ringState)) {
	n := a.shape.Workers[from.Other()]
	for i := range a.shape.Workers[from] * n {
		f(i, a.ring(from, i/n, i%n).state)
	}
}

// Drained waits until the other side has read all that this side's workers have written into
// the rings.
//
//	error: it has not, until limit
func (a *Area) Drained(from Side, limit time.Duration) error {
	m := a.mark(from)
	if !Until(limit, true, func() bool { return a.passed(&m) }) {
		return errors.New("the other process does not take what is under way to it")
	}
	return nil
}
