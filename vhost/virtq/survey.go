package virtq

import (
	"errors"
	"runtime"
	"time"

	"baton/vhost/guestmem"
)

// ErrBase is the error of New for a base that is no position in a packed ring.
var ErrBase = errors.New("base names a slot beyond the packed ring's end")

// survey is what the memory of a packed ring tells about it.
//
// The AVAIL bit of a slot is the wrap counter of the lap in which the driver wrote it
// last, whatever the device did since: so the bits are those of one lap up to the
// driver's position, and of the lap before from there on. From that position once
// around, oldest first, lie:
//
//	driver                                                          driver
//	| rests of old chains | used chains | available chains (in flight) |
//	                                    ^ device
//
// The device completes in order, so it stands behind the last used element. A used
// element overwrites only the first slot of what it stands for, a chain or a batch, so
// that the number of slots must be known: a transmit ring's element has it
// (Packed.complete).
//
// What memory cannot tell: where the device stands if chains lie in slots of a receive
// ring (neither mergeable buffers nor indirect descriptors), whose used elements have
// another length; where the chains in flight begin if nothing at all is used, and rests
// could be before them; and anything of elements of another back end that tell another
// number. Then the front end's base stands. Where nothing is used and no chain of
// several slots is to be seen, there were none: a chain of two whose first slot is
// overwritten is the one case that this misses. And whether the length of the oldest used
// element, where the driver may write its next chain just now, is the element's or that
// chain's: that is told by what follows, but not in order, where a batch has any length.
//
// Other back ends' elements of a transmit ring tell no number: they have length 0. QEMU is
// one of them, which empties the ring itself if the driver kicks while nobody is
// connected. Such an element is of one slot, and what looks available between it and the
// next used one is its chain's rest if chains of several slots are to be seen. Behind the last of all, it may be a rest or in flight:
// the front end's base stands if it is a place there, as QEMU's own is then. Elsewhere it is
// stale, and is not believed.
type survey struct {
	driver, device position
	stable         bool // the driver stood still, and not visibly in the middle of a chain
	exact          bool // device is certain
	mute           bool // it is behind an element that tells no number of slots, or in its chain's rest
	// Where used elements lack only their flags: of torn and the span-1 slots behind it those
	// that look available. It is one slot if the process before us died while it published a
	// burst; more were left out by a front end that emptied the ring from a stale place on.
	torn   position
	span   uint32
	single bool // as lap.single
}

// resume is the position at which to go on, and finishes a torn burst. base is the
// front end's word for it; doubt: it is the only one. Memory may fault.
func resume(vw *view, base position, inOrder bool) (at position, doubt bool) {
	s := takeSurvey(&vw.packed, inOrder, surveysAtOnce+surveysLater)
	if !s.exact && !s.mute {
		return base, true
	}
	num := vw.packed.Num()
	for i := range uint16(s.span) {
		t := s.torn.forward(i, num)
		w := vw.packed.Slot(t.slot)
		if !t.holds(w.Flags()) {
			continue
		}
		length := w.Len()
		if s.single && w.Flags()&guestmem.DescWrite == 0 {
			length = 1 // which it is already if it is ours
		}
		flags := t.used() | w.Flags()&guestmem.DescWrite
		vw.packed.PublishSlot(t.slot, guestmem.MakeSlot(length, w.ID(), flags))
		vw.markSlot(t.slot)
	}
	if s.mute && s.device.to(base, num) <= s.device.to(s.driver, num) {
		return base, false
	}
	return s.device, false
}

// A survey is taken up to so many times: at once at first, then with a pause, in which
// the kernel may let a virtual CPU go on that it stopped in the middle of a chain. People
// who ask how far a ring is can ask again.
const (
	surveysAtOnce    = 100
	surveysLater     = 20
	surveyPause      = time.Millisecond
	surveysForPeople = 10
)

// takeSurvey looks until the driver, which may run, stood still meanwhile, but no more
// than num times. One that never does gives a survey that is neither stable nor exact.
func takeSurvey(ring *guestmem.PackedRing, inOrder bool, num int) (s survey) {
	for i := range num {
		if s = look(ring, inOrder); s.stable {
			break
		}
		if i < surveysAtOnce {
			runtime.Gosched()
		} else {
			time.Sleep(surveyPause)
		}
	}
	return s
}

// look surveys the ring once. inOrder: one element may stand for a batch.
func look(ring *guestmem.PackedRing, inOrder bool) (s survey) {
	if s.driver, s.stable = findDriver(ring); !s.stable {
		return s
	}
	l := lap{ring: ring, num: ring.Num(), from: position{s.driver.slot, !s.driver.wrap}, inOrder: inOrder}
	l.walk()
	// A slot that the driver wrote behind its former position looked like a used
	// element, and its buffer's length like slots; so does one that it writes just now.
	if now, ok := findDriver(ring); !ok || now != s.driver || l.blind || l.unsure && l.rows {
		s.stable = false
		return s
	}
	s.single = l.single()
	s.device = l.from.forward(uint16(l.end), l.num)
	switch {
	case l.end == 0: // all in flight, or rests
		s.exact = l.single()
	case l.rows && l.writes, l.gaps > 1 && !l.single():
	case l.rest > 1 && l.single():
		// Single slots leave no rests: the driver has written a lap and not yet shown
		// its first slot, so that all but that one look written.
	case l.mute:
		s.mute = true
		s.torn, s.span = l.from.forward(uint16(l.gap), l.num), l.unshown()
	default:
		s.exact = true
		s.torn, s.span = l.from.forward(uint16(l.gap), l.num), l.unshown()
		if l.gaps == 0 && l.rest == 1 && l.single() && l.heldFirst() {
			s.span = 1
		}
	}
	return s
}

// findDriver is the position at which the driver writes next; false if the AVAIL bits
// are those of more than two laps, as while it writes a chain, whose first slot
// comes last.
func findDriver(ring *guestmem.PackedRing) (position, bool) {
	bit := func(i uint32) bool { return ring.Slot(uint16(i)).Flags()&guestmem.DescAvail != 0 }
	lap, at := bit(0), uint32(1)
	for at < ring.Num() && bit(at) == lap {
		at++
	}
	if at == ring.Num() {
		return position{0, !lap}, true
	}
	for i := at; i < ring.Num(); i++ {
		if bit(i) == lap {
			return position{}, false
		}
	}
	return position{uint16(at), lap}, true
}

// lap is a walk once around a ring, oldest slot first.
type lap struct {
	ring   *guestmem.PackedRing
	num    uint32
	from   position
	end    uint32 // slots up to the end of the last used element
	rest   uint32 // available-looking slots before the first used element
	gaps   int    // runs of such between used elements, but for rests
	gap    uint32 // where the first of them begins; 0: at the rest
	rows   bool   // chains of several slots were there
	writes bool   // used elements of a receive ring were there
	mute   bool   // the used element before tells no number of slots
	blind  bool   // an element tells another number
	unsure bool   // the driver overwrites the oldest element: it was one slot if all were

	inOrder bool
}

func (l *lap) walk() {
	at, run := l.from, uint32(0) // run: available-looking slots up to k
	for k := uint32(0); k < l.num; {
		w := l.ring.Slot(at.slot)
		l.rows = l.rows || w.Flags()&guestmem.DescNext != 0
		step := uint32(1)
		if at.holds(w.Flags()) {
			run++
		} else {
			switch {
			case run > 0 && l.end == 0:
				l.rest = run
			case run > 0 && (!l.mute || l.single()):
				if l.gaps++; l.gaps == 1 {
					l.gap = k - run
				}
			}
			run = 0
			step = l.slots(k, at, w)
			l.end = k + step
		}
		at = at.forward(uint16(step), l.num)
		k += step
	}
}

// single tells whether each chain and each used element is of one slot, as far as can be
// seen.
func (l *lap) single() bool { return !l.rows && !l.inOrder }

// unshown is over how many slots from the first gap on used elements may lack their
// flags: with chains of several, the first slot only.
func (l *lap) unshown() uint32 {
	switch {
	case l.gaps == 0:
		return 0
	case l.single():
		return l.end - l.gap
	default:
		return 1
	}
}

// heldFirst tells whether the oldest slot is a used element that lacks its flags, and no
// rest of a chain: in a transmit ring an element's length counts slots, which no
// driver's buffer is as short as.
func (l *lap) heldFirst() bool {
	w := l.ring.Slot(l.from.slot)
	return w.Flags()&guestmem.DescWrite != 0 || w.Len() == 1
}

// slots is the number of slots for which used element w at position at, k slots from the
// oldest, stands.
func (l *lap) slots(k uint32, at position, w guestmem.Slot) uint32 {
	n, fresh := w.Len(), w == 0 && l.ring.Addr(at.slot) == 0
	l.mute = false
	switch {
	case w.Flags()&guestmem.DescWrite != 0:
		l.writes = true
	case n != 0 && l.stands(at, n, l.num-k):
		return n
	case fresh && at.wrap == l.from.wrap:
		// Not written yet, as the driver's lap before may be but not the present one.
	case n == 0:
		l.mute = true
	case k == 0:
		// The driver writes its next chain here and has not shown it: address and length
		// are that chain's already, the flags not.
		l.unsure = true
	default:
		l.blind = true // of another back end
	}
	return 1
}

// stands tells whether the element at at can stand for n slots, of at most most: what it
// did not overwrite is a chain's rest, or with inOrder those of several.
func (l *lap) stands(at position, n, most uint32) bool {
	if n > most {
		return false
	}
	for i := uint32(1); i < n; i++ {
		at = at.forward(1, l.num)
		flags := l.ring.Slot(at.slot).Flags()
		if !at.holds(flags) || !l.inOrder && (flags&guestmem.DescNext != 0) != (i < n-1) {
			return false
		}
	}
	return true
}
