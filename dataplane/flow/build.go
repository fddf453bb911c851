package flow

import (
	"encoding/binary"
	"net/netip"

	"baton/dataplane/stats"
)

// Uint is v as the value of a field of size bytes.
func Uint(v uint64, size int) (b [16]byte) {
	var full [8]byte
	binary.BigEndian.PutUint64(full[:], v)
	copy(b[:size], full[8-size:])
	return b
}

// Addr is an IP address as the value of an address field: IPv4 in the first
// four bytes, the rest zero.
func Addr(a netip.Addr) (b [16]byte) {
	if a.Is4() || a.Is4In6() {
		v4 := a.Unmap().As4()
		copy(b[:], v4[:])
		return b
	}
	return a.As16()
}

// IPv4 is an IPv4 address as a number in host order, as in Key.TunSrc.
func IPv4(a netip.Addr) uint32 {
	v4 := a.Unmap().As4()
	return binary.BigEndian.Uint32(v4[:])
}

// With is m narrowed to packets whose field has value v (big endian, left aligned).
func (m Match) With(id FieldID, v [16]byte) Match {
	var ones [16]byte
	if i, ok := id.Info(); ok {
		for n := range i.Size {
			ones[n] = 0xff
		}
	}
	return m.WithMasked(id, v, ones)
}

// WithMasked is m narrowed to packets whose field has v in the bits of mask.
func (m Match) WithMasked(id FieldID, v, mask [16]byte) Match {
	for n := range v {
		v[n] &= mask[n]
	}
	m.Value.Put(id, v)
	m.Mask.Put(id, mask)
	return m
}

// WithUint is With for a number.
func (m Match) WithUint(id FieldID, v uint64) Match {
	i, _ := id.Info()
	return m.With(id, Uint(v, i.Size))
}

// WithMAC is With for an Ethernet address.
func (m Match) WithMAC(id FieldID, a MAC) Match {
	var v [16]byte
	copy(v[:], a[:])
	return m.With(id, v)
}

// WithPrefix is m narrowed to packets whose address field lies in p. It does not
// narrow the EtherType: the caller does.
func (m Match) WithPrefix(id FieldID, p netip.Prefix) Match {
	var mask [16]byte
	for n := range p.Bits() {
		mask[n/8] |= 0x80 >> (n % 8)
	}
	return m.WithMasked(id, Addr(p.Masked().Addr()), mask)
}

// SetUint is the action field := v.
func SetUint(id FieldID, v uint64) Action {
	i, _ := id.Info()
	return Action{Op: OpSetField, Field: id, Value: Uint(v, i.Size)}
}

// SetMAC is the action field := a.
func SetMAC(id FieldID, a MAC) Action {
	x := Action{Op: OpSetField, Field: id}
	copy(x.Value[:], a[:])
	return x
}

// SetAddr is the action field := a.
func SetAddr(id FieldID, a netip.Addr) Action {
	return Action{Op: OpSetField, Field: id, Value: Addr(a)}
}

// Copy is the action dst := src.
func Copy(dst, src FieldID) Action { return Action{Op: OpCopyField, Field: dst, Src: src} }

// Goto is the action that goes on at table t.
func Goto(t TableID) Action { return Action{Op: OpGoto, Table: t} }

// Output is the action that sends to port p.
func Output(p PortNo) Action { return Action{Op: OpOutput, Port: p} }

// Drop is the action that drops for reason r.
func Drop(r stats.DropReason) Action { return Action{Op: OpDrop, Reason: r} }

// ARPReply is the action that answers an ARP request with a.
func ARPReply(a MAC) Action {
	x := Action{Op: OpARPReply}
	copy(x.Value[:], a[:])
	return x
}

// SetFlags is the action that sets frame flags and keeps those that are set.
func SetFlags(flags uint16) Action { return Action{Op: OpSetFlags, Num: uint32(flags)} }
