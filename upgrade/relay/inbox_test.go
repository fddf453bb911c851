package relay

import (
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
)

// settling counts how often it is settled.
type settling struct{ settled int }

func (q *settling) Settle() { q.settled++ }

// A lane tells how many records it took with the last Rx: those for a port that nobody knows, too.
func TestLane_carried(t *testing.T) {
	c, r := buftest.NewCache(t, 64), fresh(t, 1<<16)
	n := &lane{inbox: &Inbox{link: &Link{}}, rings: []*ring{r}}
	var v buf.Vec
	check := func(want int) {
		t.Helper()
		if got := n.Rx(c, &v); got != 0 || n.Carried() != want {
			t.Errorf("%d received, %d carried, want %d", got, n.Carried(), want)
		}
	}
	check(0)
	for i := range 3 {
		v[i] = frame(t, c, 60)
	}
	if took := r.push(7, 0, &v, 3); took != 3 {
		t.Fatalf("%d of 3 pushed", took)
	}
	c.FreeAll(&v, 3)
	check(3)
	if n.strays.Load() != 3 {
		t.Errorf("%d strays, want 3", n.strays.Load())
	}
	check(0)
}

// A guest whose port is away is owed nothing; whose port is here, all.
func TestGate_settle(t *testing.T) {
	dev := &settling{}
	g := &Gate{}
	q := &gateQueue{gate: g}
	q.inner.Store(&inner{settler: dev})
	for state, want := range map[uint32]int{stateAway: 0, stateHold: 0, stateDirect: 1} {
		g.state.Store(state)
		dev.settled = 0
		if q.Settle(); dev.settled != want {
			t.Errorf("state %d: settled %d times, want %d", state, dev.settled, want)
		}
	}
}
