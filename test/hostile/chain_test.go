package hostile_test

import (
	"math"
	"slices"
	"testing"

	"baton/vhost/guest"
	"baton/vhost/proto"
)

const (
	next     = guest.DescNext
	write    = guest.DescWrite
	indirect = guest.DescIndirect
)

// breaks has the offender send a chain that breaks its ring; then it comes back.
func breaks(t *testing.T, reason string, chain func(s *scene) []guest.Desc) {
	t.Helper()
	attack(t, nil, func(s *scene) { s.breaks(reason, chain(s)) })
}

// breaks has the offender send chain c, see breaks.
func (s *scene) breaks(reason string, c []guest.Desc) {
	s.Helper()
	s.send(0, c...)
	s.broken(reason)
	s.pair.goesOn(100)
	s.again()
}

func TestHostile01_NextOutOfRange(t *testing.T) { // packed rings have no next index
	attackSplit(t, nil, func(s *scene) {
		s.breaks("bad_next", []guest.Desc{{Addr: s.spare(0), Len: 64, Flags: next, Next: ringSize}})
	})
}

func TestHostile02_SelfLoop(t *testing.T) {
	breaks(t, "chain_too_long", func(s *scene) []guest.Desc {
		if s.packed { // the nearest thing: every entry has NEXT
			return slices.Repeat([]guest.Desc{{Addr: s.spare(0), Flags: next}}, ringSize)
		}
		return []guest.Desc{{Addr: s.spare(0), Len: 0, Flags: next, Next: 0}}
	})
}

func TestHostile03_TwoNodeLoop(t *testing.T) {
	breaks(t, "chain_too_long", func(s *scene) []guest.Desc {
		if s.packed {
			return slices.Repeat([]guest.Desc{{Addr: s.spare(0), Len: 1, Flags: next}, {Addr: s.spare(0), Len: 2, Flags: next}}, ringSize/2)
		}
		return []guest.Desc{{Addr: s.spare(0), Len: 1, Flags: next, Next: 1}, {Addr: s.spare(0), Len: 2, Flags: next, Next: 0}}
	})
}

func TestHostile04_ChainLongerThanRing(t *testing.T) {
	breaks(t, "indirect_size", func(s *scene) []guest.Desc {
		long := guest.Link(0, slices.Repeat([]guest.Desc{{Addr: s.spare(0), Len: 1}}, ringSize+1)...)
		return []guest.Desc{s.table(4096, long...)}
	})
}

func TestHostile05_TotalTooLarge(t *testing.T) {
	attack(t, nil, func(s *scene) {
		s.frameAt(0, 4000)
		chain := guest.Link(0, slices.Repeat([]guest.Desc{{Addr: s.spare(0), Len: 4096}}, 100)...)
		s.send(0, chain...)
		s.h.until("it is dropped", func() bool { return s.totals(1).TooBig == 1 })
		s.whole()
		s.again()
		// Lengths that overflow 32 bits together, from inside memory to beyond its end: the
		// frame is too large long before that.
		s.send(20, guest.Link(20, guest.Desc{Addr: s.spare(0), Len: math.MaxUint32}, guest.Desc{Addr: s.spare(0), Len: math.MaxUint32})...)
		s.h.until("it is dropped too", func() bool { return s.totals(1).TooBig == 2 })
		s.whole()
		s.passesOn()
		s.again()
	})
}

func TestHostile06_Unmapped(t *testing.T) {
	breaks(t, "bad_address", func(*scene) []guest.Desc { return []guest.Desc{{Addr: 0x1000, Len: 100}} })
}

// An address that is none is not let pass for having no bytes, alone or before others.
func TestHostile07_UnmappedEmpty(t *testing.T) {
	const nowhere = 0xdead_0000_0000
	breaks(t, "bad_address", func(*scene) []guest.Desc { return []guest.Desc{{Addr: nowhere}} })
	breaks(t, "bad_address", func(s *scene) []guest.Desc {
		s.frameAt(0, 60)
		return guest.Link(0, guest.Desc{Addr: nowhere}, guest.Desc{Addr: s.spare(0), Len: 72})
	})
}

func TestHostile08_StraddlesRegions(t *testing.T) {
	attack(t, nil, func(s *scene) {
		a, err := s.g.AddMemory(1 << 16)
		s.h.ok(err)
		b, err := s.g.AddMemory(1 << 16)
		s.h.ok(err)
		if b.GuestAddr() != a.GuestAddr()+1<<16 {
			s.Fatal("the regions are not neighbours")
		}
		// One range for the guest, two files for the switch.
		want := makeFrame(s.id, s.id, 1000)
		whole := append(make([]byte, guest.HdrLen), want...)
		copy(a.Bytes()[1<<16-500:], whole[:500])
		copy(b.Bytes(), whole[500:])
		s.send(0, guest.Desc{Addr: a.GuestAddr() + 1<<16 - 500, Len: uint32(len(whole))})
		s.receives(want)
		s.whole()
		// Over the end of the last one is nothing.
		s.send(1, guest.Desc{Addr: b.GuestAddr() + 1<<16 - 500, Len: 1012})
		s.broken("bad_address")
		s.again()
	})
}

func TestHostile09_AddressWraps(t *testing.T) {
	breaks(t, "bad_address", func(*scene) []guest.Desc { return []guest.Desc{{Addr: math.MaxUint64 - 10, Len: 100}} })
}

func TestHostile10_ShorterThanHeader(t *testing.T) {
	attack(t, nil, func(s *scene) {
		for i, n := range []uint32{0, 1, 11, 12, 25} {
			s.send(uint16(i), guest.Desc{Addr: s.spare(0), Len: n})
		}
		s.h.until("all are dropped", func() bool { return s.totals(1).ShortFrame == 5 })
		s.whole()
		s.again()
	})
}

func TestHostile11_HeaderInPieces(t *testing.T) {
	attack(t, nil, func(s *scene) {
		want := s.frameAt(0, 60)
		var pieces []guest.Desc
		for i := range 72 {
			pieces = append(pieces, guest.Desc{Addr: s.spare(i), Len: 1})
		}
		s.send(0, guest.Link(0, pieces...)...)
		s.receives(want)
		s.send(80, s.table(4096, guest.Link(0, pieces...)...))
		s.receives(want)
		s.whole()
	})
}

func TestHostile12_WrongDirection(t *testing.T) {
	breaks(t, "writable", func(s *scene) []guest.Desc { return []guest.Desc{{Addr: s.spare(0), Len: 100, Flags: write}} })
	attack(t, nil, func(s *scene) {
		d := s.g.Rx[0].Desc(0)
		d.Flags &^= write
		s.g.Rx[0].SetDesc(0, d)
		s.g.Tx[0].SendBurst([][]byte{makeFrame(s.id, s.id, 60)}, nil)
		s.broken("read_only")
		s.again()
	})
}

func TestHostile13_Indirect(t *testing.T) {
	one := func(s *scene) guest.Desc { return guest.Desc{Addr: s.spare(0), Len: 72} }
	for _, c := range []struct {
		name, reason string
		chain        func(s *scene) []guest.Desc
	}{
		{"odd_length", "indirect_len", func(s *scene) []guest.Desc {
			d := s.table(4096, one(s))
			d.Len = 17
			return []guest.Desc{d}
		}},
		{"empty", "indirect_len", func(s *scene) []guest.Desc {
			d := s.table(4096, one(s))
			d.Len = 0
			return []guest.Desc{d}
		}},
		{"nested", "indirect_nested", func(s *scene) []guest.Desc {
			return []guest.Desc{s.table(4096, guest.Desc{Addr: s.spare(4096), Len: 16, Flags: indirect})}
		}},
		{"with_next", "indirect_next", func(s *scene) []guest.Desc { return guest.Link(0, s.table(4096, one(s)), one(s)) }},
		{"huge", "indirect_size", func(s *scene) []guest.Desc {
			return []guest.Desc{{Addr: s.spare(0), Len: 1<<32 - 16, Flags: indirect}}
		}},
		{"unmapped", "bad_address", func(s *scene) []guest.Desc { return []guest.Desc{{Addr: 0x1000, Len: 16, Flags: indirect}} }},
	} {
		t.Run(c.name, func(t *testing.T) { breaks(t, c.reason, c.chain) })
	}
	t.Run("not_negotiated", func(t *testing.T) {
		attack(t, func(c *guest.Config) { c.Features &^= proto.FeatureIndirectDesc }, func(s *scene) {
			s.send(0, s.table(4096, one(s)))
			s.broken("indirect_off")
			s.again()
		})
	})
	t.Run("straddles_regions", func(t *testing.T) {
		attack(t, nil, func(s *scene) {
			a, err := s.g.AddMemory(1 << 16)
			s.h.ok(err)
			b, err := s.g.AddMemory(1 << 16)
			s.h.ok(err)
			want := s.frameAt(0, 60)
			table := make([]byte, 32)
			s.g.Tx[0].PutTable(table, guest.Link(0, guest.Desc{Addr: s.spare(0), Len: 12}, guest.Desc{Addr: s.spare(12), Len: 60})...)
			copy(a.Bytes()[1<<16-8:], table[:8])
			copy(b.Bytes(), table[8:])
			s.send(0, guest.Desc{Addr: a.GuestAddr() + 1<<16 - 8, Len: 32, Flags: indirect})
			s.receives(want) // a table is memory as any other
			s.whole()
			// Over the end of the last region there is nothing.
			s.send(1, guest.Desc{Addr: b.GuestAddr() + 1<<16 - 16, Len: 32, Flags: indirect})
			s.broken("bad_address")
			s.again()
		})
	})
}
