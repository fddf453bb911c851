package relay

import (
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/nic/mem"
)

// A valve drops while it is shut, keeps in order while it holds, as much as it has room for, and
// gives that first when it is open. It sends all the while.
func TestValve(t *testing.T) {
	c := buftest.NewCache(t, 3*maxKept)
	nic, err := mem.New("nic", mem.Options{Depth: 2 * maxKept})
	if err != nil {
		t.Fatal(err)
	}
	defer nic.Close()
	valve := NewValve(nic)
	q := valve.Queue(0)
	next := 0
	inject := func(n int) {
		t.Helper()
		for range n {
			if !nic.Inject([]byte{byte(next), byte(next >> 8), 2: 0, 63: 0}) {
				t.Fatal("no room")
			}
			next++
		}
	}
	var v buf.Vec
	rx := func() (all []int) {
		for range 4 * maxKept / buf.Burst {
			n := q.Rx(c, &v)
			for _, b := range v[:n] {
				all = append(all, int(b.Data()[0])|int(b.Data()[1])<<8)
			}
			c.FreeAll(&v, n)
		}
		return all
	}
	inject(10)
	if got := rx(); len(got) != 0 {
		t.Errorf("shut: %v", got)
	}
	valve.Hold()
	inject(maxKept + 5)
	if got := rx(); len(got) != 0 || valve.Empty() || valve.Lost() != 5 {
		t.Errorf("held: %d came, empty %v, %d lost", len(got), valve.Empty(), valve.Lost())
	}
	v[0] = c.Alloc()
	v[0].SetFrame(make([]byte, 60))
	if q.Tx(c, &v, 1) != 1 || len(nic.Sent()) != 1 {
		t.Error("held: it does not send")
	}
	valve.Open()
	inject(3)
	got := rx()
	if len(got) != maxKept+3 || !valve.Empty() {
		t.Fatalf("open: %d came, empty %v", len(got), valve.Empty())
	}
	for i, n := range got {
		want := 10 + i
		if i >= maxKept {
			want += 5
		}
		if n != want&0xffff {
			t.Fatalf("frame %d is %d, want %d", i, n, want)
		}
	}
	valve.Hold()
	first := next
	inject(70)
	if got := rx(); len(got) != 0 {
		t.Errorf("held again: %d came", len(got))
	}
	valve.Pass() // marks the 70
	if got := rx(); len(got) != 0 {
		t.Errorf("after a pass: %d came", len(got))
	}
	inject(3)
	rx()
	valve.Pass()
	inject(2)
	if got := rx(); len(got) != 70 || got[0] != first&0xffff || got[69] != (first+69)&0xffff {
		t.Errorf("after two passes: %d came, want the 70", len(got))
	}
	valve.Pass()
	if got := rx(); len(got) != 3 || got[0] != (first+70)&0xffff {
		t.Errorf("after three passes: %v, want the 3", got)
	}
	valve.Open()
	if got := rx(); len(got) != 2 || got[0] != (first+73)&0xffff || !valve.Empty() {
		t.Errorf("open: %v, want the last 2", got)
	}
	valve.Hold()
	inject(2)
	rx()
	valve.Shut()
	if rx(); !valve.Empty() {
		t.Error("shut: something waits")
	}
}
