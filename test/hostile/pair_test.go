package hostile_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

// makeFrame is a frame of n bytes between two VMs.
func makeFrame(from, to, n int) []byte {
	f := make([]byte, n)
	d, s := mac(to), mac(from)
	copy(f, d[:])
	copy(f[6:], s[:])
	f[12], f[13] = 0x88, 0xb5 // for experiments
	for i := 18; i < n; i++ {
		f[i] = byte(i)
	}
	return f
}

func number32(f []byte, seq uint32) { binary.BigEndian.PutUint32(f[14:], seq) }

// onTheWay is how many frames of the pair may be under way in one direction: fewer than
// a ring holds, so that the pair itself gives no cause for a drop.
const onTheWay = 64

// pair is two well-behaved VMs that exchange numbered frames, one with a split ring
// and one with a packed one.
type pair struct {
	h     *host
	vms   [2]*vm
	sent  [2]uint32
	got   [2]uint32 // by the VM with this index
	moved atomic.Uint64
	stop  atomic.Bool
	done  chan error
}

func (h *host) pair() *pair {
	h.t.Helper()
	p := &pair{h: h, done: make(chan error, 1)}
	p.vms[0] = h.vm(1, guest.Config{Features: base | proto.FeatureEventIdx, RingSize: ringSize})
	p.vms[1] = h.vm(2, guest.Config{Features: base | proto.FeatureRingPacked, RingSize: ringSize})
	go func() { p.done <- p.run() }()
	return p
}

// run moves frames until stop, then waits for those under way.
func (p *pair) run() error {
	frames := [2][]byte{makeFrame(1, 2, 1400), makeFrame(2, 1, 1400)}
	last := time.Now()
	for {
		moved := false
		for i, v := range p.vms {
			moved = p.send(i, v, frames[i]) || moved
			var bad error
			n := v.g.Rx[0].Poll(32, func(_ guest.Hdr, f []byte) {
				if err := p.check(i, f); bad == nil {
					bad = err
				}
			})
			if bad != nil {
				return bad
			}
			p.moved.Add(uint64(n))
			moved = moved || n > 0
		}
		switch {
		case moved:
			last = time.Now()
		case p.stop.Load() && p.got[0] == p.sent[1] && p.got[1] == p.sent[0]:
			return nil
		case time.Since(last) > patience:
			return fmt.Errorf("nothing moves: sent %d, got %d", p.sent, p.got)
		default:
			runtime.Gosched()
		}
	}
}

// send sends up to 8 frames if no more than onTheWay are under way.
func (p *pair) send(i int, v *vm, f []byte) (some bool) {
	for range 8 {
		if p.stop.Load() || p.sent[i]-p.got[1-i] >= onTheWay {
			return some
		}
		number32(f, p.sent[i])
		f := f[:64+int(p.sent[i]*37%1336)]
		if v.g.Tx[0].SendBurst([][]byte{f}, nil) == 0 {
			return some
		}
		p.sent[i]++
		some = true
	}
	return some
}

// check tells what is wrong with a frame that VM i got.
func (p *pair) check(i int, f []byte) error {
	seq := p.got[i]
	want := 64 + int(seq*37%1336)
	switch {
	case len(f) < 18 || binary.BigEndian.Uint32(f[14:]) != seq:
		return fmt.Errorf("vm%d waits for frame %d and got %d bytes %.32x", i+1, seq, len(f), f)
	case len(f) != want || f[len(f)-1] != byte(len(f)-1):
		return fmt.Errorf("vm%d: frame %d has %d bytes, want %d", i+1, seq, len(f), want)
	}
	p.got[i]++
	return nil
}

// goesOn waits until num more frames of the pair have arrived.
func (p *pair) goesOn(num uint64) {
	p.h.t.Helper()
	from := p.moved.Load()
	for end := time.Now().Add(patience); p.moved.Load() < from+num && len(p.done) == 0; runtime.Gosched() {
		if time.Now().After(end) {
			p.h.t.Fatalf("the pair moved %d frames in %v", p.moved.Load()-from, patience)
		}
	}
}

// end ends the traffic and checks that all frames arrived, in order.
func (p *pair) end() {
	p.h.t.Helper()
	p.stop.Store(true)
	if err := <-p.done; err != nil {
		p.h.t.Errorf("the good pair: %v", err)
	}
	for _, v := range p.vms {
		v.whole()
		if n := v.dev.Snapshot().Refused; n > 0 {
			p.h.t.Errorf("%d messages of the good pair refused", n)
		}
	}
}

// scene is a test's surroundings: the pair is under way, the offender is up.
type scene struct {
	*vm
	*testing.T
	pair   *pair
	packed bool
}

// attack runs f as the offender, with split and packed rings, beside the good pair.
func attack(t *testing.T, change func(c *guest.Config), f func(s *scene)) {
	t.Helper()
	attackSplit(t, change, f)
	attackPacked(t, change, f)
}

// attackSplit is attack for what only split rings have.
func attackSplit(t *testing.T, change func(c *guest.Config), f func(s *scene)) {
	t.Helper()
	t.Run("split", func(t *testing.T) { runAttack(t, false, change, f) })
}

// attackPacked is attack for what only packed rings have.
func attackPacked(t *testing.T, change func(c *guest.Config), f func(s *scene)) {
	t.Helper()
	t.Run("packed", func(t *testing.T) { runAttack(t, true, change, f) })
}

func runAttack(t *testing.T, packed bool, change func(c *guest.Config), f func(s *scene)) {
	h := newHost(t)
	p := h.pair()
	cfg := guest.Config{Features: base, RingSize: ringSize, Spare: 1 << 20}
	if change != nil {
		change(&cfg)
	}
	if packed {
		cfg.Features |= proto.FeatureRingPacked
	}
	o := h.vm(3, cfg)
	defer p.end()
	p.goesOn(100)
	f(&scene{vm: o, T: t, pair: p, packed: packed})
	p.goesOn(300)
}

// spare is the guest address of an offset into the memory that the guest does not use.
func (s *scene) spare(off int) uint64 { return s.g.GuestAddr(s.g.Spare() + off) }

// frameAt writes an empty header and a frame to itself of n bytes into spare memory.
func (s *scene) frameAt(off, n int) []byte {
	f := makeFrame(s.id, s.id, n)
	b := s.g.Mem()[s.g.Spare()+off:]
	clear(b[:guest.HdrLen])
	copy(b[guest.HdrLen:], f)
	return f
}

// send offers a raw chain on the transmit ring and kicks.
func (s *scene) send(id uint16, chain ...guest.Desc) {
	tx := s.g.Tx[0]
	tx.Offer(id, chain...)
	tx.Publish()
	tx.Kick()
}

// table writes an indirect table into spare memory and returns the descriptor for it.
func (s *scene) table(off int, table ...guest.Desc) guest.Desc {
	s.g.Tx[0].PutTable(s.g.Mem()[s.g.Spare()+off:], table...)
	return guest.Desc{Addr: s.spare(off), Len: uint32(16 * len(table)), Flags: guest.DescIndirect}
}

// receives waits for one frame and checks it.
func (s *scene) receives(want []byte) {
	s.Helper()
	s.h.until("the frame", func() bool {
		return s.g.Rx[0].Poll(1, func(_ guest.Hdr, f []byte) {
			if string(f) != string(want) {
				s.Errorf("got %x, want %x", f, want)
			}
		}) > 0
	})
}
