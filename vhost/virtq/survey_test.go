package virtq_test

import (
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/virtq"
	"baton/vhost/virtq/drivertest"

	"pgregory.net/rapid"
)

// A packed ring's back end dies and another starts with what the front end remembers
// of the ring's first day. Wherever the driver is meanwhile, the ring goes on where it
// stopped: every chain comes back once and in order. What memory cannot tell is
// accepted only where it cannot: nothing at all used, and rests possible.
func TestRestartPackedRing(t *testing.T) {
	for _, c := range []struct {
		name             string
		receive, inOrder bool
		most             int // slots of a chain
	}{
		{"transmit", false, false, 1}, {"receive", true, false, 1},
		{"transmit_chains", false, false, 3}, {"transmit_in_order", false, true, 1},
		{"transmit_in_order_chains", false, true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			unknown, known := 0, 0
			g := newPackedRig(t, 8, func(v *virtq.Config) { v.InOrder = c.inOrder })
			rapid.Check(t, func(rt *rapid.T) {
				num := rapid.IntRange(c.most, 12).Draw(rt, "num")
				g.renew(t, num)
				r := restarts{rig: g, receive: c.receive, most: c.most}
				for range rapid.IntRange(1, 40).Draw(rt, "steps") {
					r.step(t, rt)
					if rapid.IntRange(0, 3).Draw(rt, "die") > 0 {
						continue
					}
					if r.restart(rt) {
						known++
					} else if unknown++; c.most == 1 && !c.inOrder {
						rt.Fatal("lost a ring of single slots")
					}
				}
			})
			t.Logf("resumed %d times, %d times it could not be known", known, unknown)
			if known < 3*unknown {
				t.Errorf("resumed only %d times of %d", known, known+unknown)
			}
		})
	}
}

// renew makes the packed ring a fresh one of num slots.
func (g *rig) renew(t *testing.T, num int) {
	clear(g.mem.Bytes[:dataOff])
	g.cfg.Num = uint32(num)
	g.drive(num)
	q, err := virtq.New(g.table, g.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.q = q
}

type restarts struct {
	*rig
	receive      bool
	most         int
	pushed, back int
}

// step lets the driver or the device do something.
func (r *restarts) step(t *testing.T, rt *rapid.T) {
	flags := uint16(0)
	if r.receive {
		flags = write
	}
	switch rapid.IntRange(0, 2).Draw(rt, "who") {
	case 0:
		for range rapid.IntRange(1, 12).Draw(rt, "push") {
			if !r.put(rapid.IntRange(1, r.most).Draw(rt, "slots"), flags) {
				break
			}
		}
		r.pack.Publish()
	case 1:
		if r.receive {
			n := rapid.IntRange(1, 6).Draw(rt, "give")
			r.give(t, make([][]byte, 0, n)...)
			for range n {
				r.give(t, make([]byte, 60))
			}
		} else {
			r.take()
		}
	case 2:
		for range rapid.IntRange(1, 12).Draw(rt, "reclaim") {
			id, _, ok := r.pack.TakeUsed()
			if !ok {
				break
			}
			if want := r.back % r.pack.Num; int(id) != want {
				rt.Fatalf("id %d came back, want %d", id, want)
			}
			r.back++
		}
	}
	if r.q.Broken() != virtq.ReasonNone {
		rt.Fatal(r.q.Broken())
	}
}

// put puts the next chain in, if it has room.
func (r *restarts) put(slots int, flags uint16) bool {
	if r.pack.Free() < slots {
		return false
	}
	id := r.pushed % r.pack.Num
	for i := range slots { // table entries id, id+1, ...
		d := guestmem.Desc{Addr: at(dataOff), Len: 120, Flags: flags}
		if i < slots-1 {
			d.Flags |= next
			d.Next = uint16((id + i + 1) % r.pack.Num)
		}
		r.pack.SetDesc((id+i)%r.pack.Num, d)
	}
	r.pack.Put(uint16(id))
	r.pushed++
	return true
}

// push has the driver show up to n more chains of one slot.
func (r *restarts) push(n int) {
	for range n {
		r.put(1, 0)
	}
	r.pack.Publish()
}

// restart makes a new device and tells whether it knew where to go on.
func (r *restarts) restart(rt *rapid.T) bool {
	want := r.q.State()
	stale := r.cfg
	stale.Base = 0x8000
	q, err := virtq.New(r.table, stale, nil)
	if err != nil {
		rt.Fatal(err)
	}
	if got := q.State(); got != want {
		for i := range r.pack.Num {
			if f := r.pack.Slot(i).Flags(); (f&availBit == 0) == (f&usedBit == 0) {
				rt.Fatalf("goes on at %#x, stopped at %#x, and slot %d is used", got, want, i)
			}
		}
		stale.Base, stale.BaseSure = want, true
		if q, err = virtq.New(r.table, stale, nil); err != nil {
			rt.Fatal(err)
		}
		if q.State() != want {
			rt.Fatalf("goes on at %#x, told %#x", q.State(), want)
		}
		r.q = q
		return false
	}
	r.q = q
	return true
}

// The device dies between the used elements of a burst and the first one's flags,
// which come last: the next one finishes the burst.
func TestRestartFinishesTornBurst(t *testing.T) {
	for i := range 4 {
		receive, full := i&1 != 0, i&2 != 0
		g := newPackedRig(t, 8, nil)
		flags := uint16(0)
		if receive {
			flags = write
		}
		for i := range 8 {
			g.desc(i, at(dataOff), 100, flags, 0)
		}
		burst := func(n int) {
			if receive {
				for range n {
					g.vec[0] = nil
				}
				frames := make([][]byte, n)
				for i := range frames {
					frames[i] = make([]byte, 60)
				}
				if g.give(t, frames...) != n {
					t.Fatal("not taken")
				}
			} else if len(g.take()) != n {
				t.Fatal("not taken")
			}
		}
		g.drv.Push(0, 1)
		burst(2)
		g.drv.Push(2, 3, 4)
		burst(3)
		if g.drv.Push(5, 6); full { // the torn slot is the oldest
			for range 2 {
				g.pack.TakeUsed()
			}
			g.drv.Push(7, 0, 1)
		}
		whole := g.pack.Slot(2)
		g.pack.Raw(2, guestmem.Desc{Addr: at(dataOff), Len: whole.Len(), Next: whole.ID(), Flags: availBit | flags})
		want := g.q.State()
		q, err := virtq.New(g.table, g.cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.State() != want || g.pack.Slot(2) != whole {
			t.Errorf("receive %v, full %v: at %#x, want %#x; slot %#x, want %#x", receive, full, q.State(), want, g.pack.Slot(2), whole)
		}
	}
}

// The driver fills the whole ring before it shows the first slot, and the device starts
// in between: it starts where the front end says, in a fresh ring and in a used one.
func TestRestartBeforeFirstSlotIsShown(t *testing.T) {
	for _, num := range []int{3, 8} {
		g := newPackedRig(t, num, nil)
		for lap := range 3 {
			for i := range num {
				g.desc(i, at(dataOff), 100, write, 0)
				g.pack.Put(uint16(i))
			}
			want := g.q.State()
			g.cfg.Base = want
			q, err := virtq.New(g.table, g.cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := q.State(); got != want {
				t.Fatalf("%d slots, lap %d: starts at %#x, want %#x", num, lap, got, want)
			}
			g.q = q
			g.pack.Publish()
			for range num {
				if g.give(t, make([]byte, 60)) != 1 {
					t.Fatalf("%d slots, lap %d: not taken", num, lap)
				}
				if _, _, ok := g.pack.TakeUsed(); !ok {
					t.Fatalf("%d slots, lap %d: nothing came back", num, lap)
				}
			}
		}
	}
}

// The driver goes on adding chains while a new device looks where to go on, as a guest
// does that heard first that its carrier is back.
func TestRestartUnderARunningDriver(t *testing.T) {
	const num, used, more = 256, 96, 64
	for _, flags := range []uint16{0, write} {
		g := newPackedRig(t, num, nil)
		for range 500 {
			g.renew(t, num)
			for i := range num {
				g.desc(i, at(dataOff), 1514, flags, 0)
			}
			for i := range used + 20 { // 20 stay in flight
				g.drv.Push(uint16(i))
			}
			if g.serve(t, used, flags); g.q.State() != 0x80008000|used<<16|used {
				t.Fatalf("at %#x, want %d", g.q.State(), used)
			}
			running, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for i := range num - used - 20 + more { // over the ring's end
					if i == more {
						close(running)
					}
					if i >= num-used-20 {
						g.pack.TakeUsed()
					}
					g.drv.Push(uint16((used + 20 + i) % num))
				}
			}()
			<-running
			stale := g.cfg
			stale.Base = 0x8000
			q, err := virtq.New(g.table, stale, nil)
			<-done
			if err != nil || q.State() != g.q.State() {
				t.Fatalf("flags %d: goes on at %#x, %v; stopped at %#x", flags, q.State(), err, g.q.State())
			}
		}
	}
}

// The driver has written address and length of its next buffer and not its flags, and
// stands there, as a virtual CPU does that does not run: the length is no count of slots.
func TestRestartWhileADriverWrites(t *testing.T) {
	for _, flags := range []uint16{0, write} {
		for _, pushed := range []uint16{5, 8} { // the slot is a fresh one, or a used one
			g := newPackedRig(t, 8, nil)
			for i := range 8 {
				g.desc(i, at(dataOff), 100, flags, 0)
			}
			for i := range pushed {
				if g.drv.Push(i); i == 2 {
					g.serve(t, 3, flags)
				}
			}
			slot := int(pushed % 8)
			g.pack.Raw(slot, guestmem.Desc{Addr: at(dataOff), Len: 1514, Flags: g.pack.Slot(slot).Flags(), Next: 7})
			stale := g.cfg
			stale.Base = 0x8000
			q, err := virtq.New(g.table, stale, nil)
			if err != nil || q.State() != g.q.State() {
				t.Errorf("flags %d, %d pushed: goes on at %#x, %v; stopped at %#x", flags, pushed, q.State(), err, g.q.State())
			}
		}
	}
}

// serve has the device use n of a ring's chains.
func (g *rig) serve(t *testing.T, n int, flags uint16) {
	t.Helper()
	for served := 0; served < n; {
		if flags&write == 0 {
			served += len(g.take())
		} else {
			served += g.give(t, make([]byte, 60))
		}
	}
}

// Elements of another back end do not tell their slots: the front end's word stands.
// So it does while the driver is found in the middle of a chain for long.
func TestRestartBelievesBase(t *testing.T) {
	g := newPackedRig(t, 8, nil)
	for i := range 8 {
		g.desc(i, at(dataOff), 100, 0, 0)
	}
	g.drv.Push(0, 1, 2, 3, 4)
	g.take()
	g.pack.Raw(0, guestmem.Desc{Addr: at(dataOff), Flags: availBit | usedBit, Next: 4})
	for i := 1; i < 5; i++ {
		g.pack.Raw(i, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit, Next: uint16(i)})
	}
	g.cfg.Base = g.q.State() & 0xffff // the used half is not needed
	q, err := virtq.New(g.table, g.cfg, nil)
	if err != nil || q.State() != 0x80058005 {
		t.Fatalf("%#x %v", q.State(), err)
	}
	if i, err := q.Indices(); err != nil || i.UsedKnown {
		t.Errorf("indices %+v %v", i, err)
	}
	g = newPackedRig(t, 8, nil)
	g.pack.Raw(3, guestmem.Desc{Addr: at(dataOff), Len: 100, Flags: availBit})
	if q, err = virtq.New(g.table, g.cfg, nil); err != nil || q.State() != 0x80008000 {
		t.Fatalf("%#x %v", q.State(), err)
	}
	if i, err := q.Indices(); err != nil || i.UsedKnown || i.AvailKnown {
		t.Errorf("indices %+v %v", i, err)
	}
}

// A ring's back end dies again and again, and meanwhile the front end empties it from where
// it last did so on, as QEMU does if the driver kicks while nobody is connected, and names
// that place as base, however old it is. The ring goes on: every chain comes back once, in
// order, and what was put in after the last death is taken.
func TestRestartWhereTheFrontEndEmptiedTheRing(t *testing.T) {
	g := newPackedRig(t, 8, nil)
	rapid.Check(t, func(rt *rapid.T) {
		num := rapid.IntRange(3, 12).Draw(rt, "num")
		g.renew(t, num)
		r := restarts{rig: g, most: 1}
		qemu := emptier{slot: 0, wrap: true}
		for range rapid.IntRange(1, 30).Draw(rt, "lives") {
			for range rapid.IntRange(0, 6).Draw(rt, "steps") {
				r.step(t, rt)
			}
			switch before := r.pushed; rapid.IntRange(0, 2).Draw(rt, "death") {
			case 0: // it slept, and the kick of the next chain reaches the front end
				r.take()
				r.push(1)
				qemu.empty(r.pack)
				r.push(rapid.IntRange(0, 3).Draw(rt, "late"))
			case 1: // it polled
				r.push(rapid.IntRange(0, 12).Draw(rt, "late"))
			case 2: // it slept, and the kick comes late
				r.take()
				r.push(2)
				if r.pushed-before == 2 && int(qemu.slot) != r.pack.Next && qemu.holds(r.pack) {
					qemu.empty(r.pack)
				}
			}
			stale := r.cfg
			stale.Base = uint32(qemu.word())
			q, err := virtq.New(r.table, stale, nil)
			if err != nil {
				rt.Fatal(err)
			}
			r.q = q
			for r.take() != nil {
			}
			for r.back < r.pushed {
				id, _, ok := r.pack.TakeUsed()
				if !ok {
					rt.Fatalf("base %#x: at %#x: %d of %d chains came back", stale.Base, q.State(), r.back, r.pushed)
				}
				if int(id) != r.back%num {
					rt.Fatalf("id %d came back, want %d", id, r.back%num)
				}
				r.back++
			}
		}
	})
}

// emptier is a front end's own place in a packed ring.
type emptier struct {
	slot uint16
	wrap bool
}

func (e *emptier) word() uint16 {
	if e.wrap {
		return e.slot | 1<<15
	}
	return e.slot
}

func (e *emptier) holds(ring *drivertest.Packed) bool {
	f := ring.Slot(int(e.slot)).Flags()
	return (f&availBit != 0) == e.wrap && (f&usedBit != 0) != e.wrap
}

// empty gives all chains of one slot back, without a length.
func (e *emptier) empty(ring *drivertest.Packed) {
	for e.holds(ring) {
		flags := uint16(0)
		if e.wrap {
			flags = availBit | usedBit
		}
		ring.Raw(int(e.slot), guestmem.Desc{Addr: at(dataOff), Flags: flags, Next: ring.Slot(int(e.slot)).ID()})
		if e.slot++; int(e.slot) == ring.Num {
			e.slot, e.wrap = 0, !e.wrap
		}
	}
}
