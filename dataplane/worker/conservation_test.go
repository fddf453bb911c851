package worker

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/offload"
	"baton/dataplane/port"
)

// TestConservation: whatever happens to ports and rules, received + made = sent + drops
// when all is quiet, to the packet and as the far ends of the ports see it.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLab(t, func(c *Config) {
			c.Workers = rapid.IntRange(1, 3).Draw(rt, "workers")
			c.Handoffs = 64
		})
		defer l.end() // again when the test ends, which does no harm
		b := &bustle{lab: l, t: t, rt: rt, seed: rapid.Uint64().Draw(rt, "seed"), alive: map[int]*double{}}
		b.rules()
		b.add(1)
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			b.step(rapid.IntRange(1, 5).Draw(rt, "port"))
		}
		l.quiet(slices.Collect(maps.Values(b.alive))...)
		tot := l.Totals()
		if tot.Held() != 0 || tot.RxPackets != b.sent || tot.TxPackets != b.arrived.Load() {
			rt.Errorf("injected %d, received %d, sent %d, arrived %d, dropped %d", b.sent, tot.RxPackets, tot.TxPackets, b.arrived.Load(), tot.Dropped())
		}
	})
}

// bustle is ports that come and go, and what is sent between them meanwhile.
type bustle struct {
	lab     *lab
	t       *testing.T
	rt      *rapid.T
	seed    uint64
	alive   map[int]*double
	sent    uint64 // frames that ports have injected, and that were or will be received
	arrived atomic.Uint64
}

// step does one thing to port id, or to the rules.
func (b *bustle) step(id int) {
	d := b.alive[id]
	switch what := rapid.IntRange(0, 9).Draw(b.rt, "what"); {
	case what == 0:
		b.rules()
	case what == 1 && d != nil:
		b.remove(id, d)
	case what == 1:
	case what == 2 && d != nil:
		if err := b.lab.ReplacePort(d.name, &again{d}); err != nil {
			b.rt.Fatal(err)
		}
	case d == nil:
		b.add(id)
	default:
		for i := range rapid.IntRange(1, 300).Draw(b.rt, "packets") {
			b.sent++
			d.queues[i%len(d.queues)].injectAsking(anyFrame(i))
		}
	}
}

// again is another port for a double's queues.
type again struct{ *double }

// rules lets every destination be at another port.
func (b *bustle) rules() {
	var c flow.Change
	for dst := range uint16(6) {
		to := rapid.IntRange(0, 5).Draw(b.rt, "to")
		c.SetRules = append(c.SetRules, toPort(dst, number(to+1)))
	}
	b.lab.change(c)
}

// add makes port id: it takes offloads as drawn, and all frames, some, or few.
func (b *bustle) add(id int) {
	d := newDouble(b.t, fmt.Sprintf("p%d", id), port.KindVhost, rapid.IntRange(1, 3).Draw(b.rt, "queues"))
	d.sink(func([]byte) { b.arrived.Add(1) })
	offers := rapid.Uint32Range(0, 63).Draw(b.rt, "offers")
	full := rapid.IntRange(0, 2).Draw(b.rt, "full")
	for _, q := range d.queues {
		q.offers.Store(offers)
		q.keep = func(f *buf.Buf) {
			if need := offload.Needs(f); uint32(need)&^offers != 0 {
				b.t.Errorf("a port that offers %x got a frame that needs %x", offers, need)
			}
		}
		if full > 0 {
			turn := b.seed
			q.limit = func(n int) int {
				turn = turn*6364136223846793005 + 1442695040888963407
				return n - int(turn>>40)%(n+1)*full/2
			}
		}
	}
	b.alive[id] = b.lab.addPort(id, d)
}

// remove takes port id away; what waits in its queues is never received.
func (b *bustle) remove(id int, d *double) {
	if err := b.lab.RemovePort(d.name); err != nil {
		b.rt.Fatal(err)
	}
	delete(b.alive, id)
	for _, q := range d.queues {
		if q.waker != nil {
			b.rt.Fatal("a removed port is still attached")
		}
		b.sent -= uint64(q.waiting())
	}
}

// anyFrame is a packet of flow i to port i%7: a plain one, one whose checksum is to be
// completed, or a super-segment, every now and then of tiny segments.
func anyFrame(i int) injected {
	switch i % 11 {
	case 3:
		return injected{frame: tcp(uint16(i), uint16(i%7), 200), partial: true}
	case 5:
		return injected{frame: tcp(uint16(i), uint16(i%7), 9000+i), segment: 1448}
	case 7:
		return injected{frame: tcp(uint16(i), uint16(i%7), 60000), segment: 50 + i}
	}
	return injected{frame: frame(uint16(i), uint16(i%7), uint64(i))}
}
