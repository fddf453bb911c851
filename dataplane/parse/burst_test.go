package parse_test

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// dirty is a key as another frame left it, of which nothing but InPort may stay.
func dirty() flow.Key {
	return flow.Key{InPort: 7, EthDst: flow.MAC{1}, EthSrc: flow.MAC{2}, EthType: 3, VLAN: 4, IPSrc: [16]byte{3: 5, 15: 6},
		IPDst: [16]byte{3: 7, 15: 8}, Proto: 9, TOS: 10, Frag: 3, L4Src: 11, L4Dst: 12}
}

// burstOf is Burst for one frame, at the edge of memory; ok tells whether it was of the
// common case.
func burstOf(t rapid.TB, e *buftest.Edge, frame []byte) (k flow.Key, ok bool) {
	t.Helper()
	b := e.Lay(frame)
	if b == nil {
		return k, false
	}
	keys := [buf.Burst]flow.Key{dirty()}
	var odd uint32
	buftest.Inside(t, func() { odd = parse.Burst(&buf.Vec{b}, 1, &keys) }, e)
	return keys[0], odd == 0
}

// burstIsFrame reports whether Burst takes frame f; Frame must say the same of it.
func burstIsFrame(t rapid.TB, e *buftest.Edge, f []byte) bool {
	t.Helper()
	got, ok := burstOf(t, e, f)
	if !ok {
		return false
	}
	want := dirty()
	if r := parse.Frame(f, &want); r != stats.DropNone || got != want {
		t.Fatalf("%x:\nBurst %s\nFrame %s, %s", f, got, want, r)
	}
	return true
}

// TestBurstIsFrame: what Burst takes, Frame takes, with the same key; and it takes what
// most frames are.
func TestBurstIsFrame(t *testing.T) {
	e := buftest.NewEdge(t)
	common := 0
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		if rapid.Bool().Draw(t, "plain") {
			p = hdrtest.Packet{Src: a4, Dst: b4, Proto: rapid.SampledFrom([]uint8{hdr.ProtoUDP, hdr.ProtoTCP}).Draw(t, "protocol"),
				TOS: rapid.Byte().Draw(t, "TOS"), SrcPort: rapid.Uint16().Draw(t, "from"), DstPort: rapid.Uint16().Draw(t, "to"), Payload: make([]byte, 20)}
		}
		f := p.Bytes()
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, min(len(f), 60)-1).Draw(t, "at")
			f[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		f = f[:rapid.SampledFrom([]int{len(f), len(f), len(f) - 1, len(f) / 2}).Draw(t, "size")]
		if burstIsFrame(t, e, f) {
			common++
		}
	})
	if common == 0 {
		t.Error("no frame was of the common case")
	}
}

// TestBurstIsFrame_bits: the same of good frames of which one bit is wrong, each of the
// headers'. Chance finds the bit that matters in some runs only.
func TestBurstIsFrame_bits(t *testing.T) {
	e := buftest.NewEdge(t)
	for _, proto := range []uint8{hdr.ProtoUDP, hdr.ProtoTCP} {
		for _, padding := range []int{0, 300} { // behind it a larger total length would fit
			p := hdrtest.Packet{EthDst: hdrtest.MAC(1), EthSrc: hdrtest.MAC(2), Src: a4, Dst: b4, Proto: proto, TOS: 0x2e,
				SrcPort: 0x1234, DstPort: 0x5678, Payload: make([]byte, 20), Padding: padding}
			f := p.Bytes()
			if !burstIsFrame(t, e, f) {
				t.Errorf("protocol %d: not of the common case", proto)
			}
			taken := 0
			for bit := range 8 * burstLooksAt {
				f[bit/8] ^= 1 << (bit % 8)
				if burstIsFrame(t, e, f) {
					taken++
				}
				f[bit/8] ^= 1 << (bit % 8)
			}
			if want := 8 * (12 + 1 + 8 + 4); taken < want { // at the least: MACs, TOS, addresses, ports
				t.Errorf("protocol %d: %d of the changed frames are of the common case, want %d", proto, taken, want)
			}
		}
	}
}

// burstLooksAt is the headers of the common case, in bytes.
const burstLooksAt = 54

// TestBurstReadsNoFurther: of frames of all lengths, however they end, Burst and Frame read
// no byte behind the end, and agree.
func TestBurstReadsNoFurther(t *testing.T) {
	e := buftest.NewEdge(t)
	const longest = 200
	payload := make([]byte, longest)
	for _, p := range []hdrtest.Packet{
		{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, SrcPort: 1, DstPort: 2, Payload: payload},
		{Src: a4, Dst: b4, Proto: hdr.ProtoTCP, SrcPort: 1, DstPort: 2, Payload: payload},
		{Src: a4, Dst: b4, Proto: hdr.ProtoICMP, SrcPort: 8, Payload: payload},
		{Src: a4, Dst: b4, Proto: hdr.ProtoTCP, Options: 40, Payload: payload},
		{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, VLAN: 3, Payload: payload},
		{Src: a6, Dst: b6, Proto: hdr.ProtoTCP, Payload: payload},
		{Src: a6, Dst: b6, Proto: hdr.ProtoUDP, Extensions: []byte{0, 60, 51, 44}, Payload: payload},
		{Src: a4, Dst: b4, ARP: 1, Padding: longest},
	} {
		whole := p.Bytes()
		for n := range longest + 1 {
			readsNoFurther(t, e, whole[:n])
			readsNoFurther(t, e, resized(whole[:n], p))
		}
	}
}

// resized is a copy of f, the begin of an IPv4 packet in a frame, whose lengths say that it
// is all: it takes the parser as far as can be.
func resized(f []byte, p hdrtest.Packet) []byte {
	f = append([]byte(nil), f...)
	if !p.Src.Is4() || p.ARP != 0 || p.VLAN != 0 {
		return f
	}
	if len(f) >= 18 {
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	}
	if len(f) >= 40 && p.Proto == hdr.ProtoUDP {
		binary.BigEndian.PutUint16(f[38:], uint16(len(f)-34))
	}
	return f
}

// readsNoFurther holds Burst and Frame to the bytes of f.
func readsNoFurther(t *testing.T, e *buftest.Edge, f []byte) {
	t.Helper()
	burstIsFrame(t, e, f)
	var k, there flow.Key
	want := parse.Frame(f, &k)
	buftest.Inside(t, func() {
		frame := e.Lay(f).Data()
		if r := parse.Frame(frame, &there); r != want || r == stats.DropNone && there != k {
			t.Errorf("%x: %s, %s; at the edge %s, %s", f, want, k, r, there)
		}
		if _, r := parse.Locate(frame); r != want {
			t.Errorf("%x: Frame says %s, Locate %s", f, want, r)
		}
	}, e)
}

// TestBurstTakesMost: plain TCP and UDP over IPv4, of any size from the smallest Ethernet frame on.
func TestBurstTakesMost(t *testing.T) {
	e := buftest.NewEdge(t)
	for _, proto := range []uint8{hdr.ProtoUDP, hdr.ProtoTCP} {
		for _, size := range []int{18, 64, 1400} {
			p := hdrtest.Packet{Src: a4, Dst: b4, Proto: proto, SrcPort: 1, DstPort: 2, Payload: make([]byte, size)}
			if _, ok := burstOf(t, e, p.Bytes()); !ok {
				t.Errorf("protocol %d, %d bytes: not of the common case", proto, size)
			}
		}
	}
	b := e.Lay(hdrtest.Packet{Src: a4, Dst: b4, Proto: hdr.ProtoUDP, Payload: make([]byte, 64)}.Bytes())
	vec := buf.Vec{b}
	var keys [buf.Burst]flow.Key
	if n := testing.AllocsPerRun(100, func() { parse.Burst(&vec, 1, &keys) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	b.NbSegs = 2
	if odd := parse.Burst(&vec, 1, &keys); odd != 1 {
		t.Error("the head of a chain is of the common case")
	}
}
