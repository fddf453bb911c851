package virtq_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload"
	"baton/dataplane/stats"
	"baton/vhost/virtq"
)

// FuzzNetHeader reads any header with any frame. Never a panic, never a length beyond
// the first buffer; what is completed verifies; what is to be cut can be cut; a header
// written for another guest reads as the same.
func FuzzNetHeader(f *testing.F) {
	tcp4 := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 6, Payload: make([]byte, 200)}
	tcp6 := hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: 6, Extensions: []byte{0, 60}, Payload: make([]byte, 5000)}
	udp := hdrtest.Packet{VLAN: 5, Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 17, Options: 8, Payload: make([]byte, 33)}
	tail := func(h *virtq.NetHeader, p hdrtest.Packet) []byte { return append(h[:], p.Bytes()...) }
	f.Add(tail(netHeader(0, 0, 0, 0, 0, 0), tcp4), uint64(0), uint16(0))
	f.Add(tail(netHeader(1, 0, 0, 0, 34, 16), tcp4), allNet, uint16(0))
	f.Add(tail(netHeader(1, 1, 54, 60, 34, 16), tcp4), allNet, uint16(60))
	f.Add(tail(netHeader(1, 0x84, 54, 1000, 70, 16), tcp6), allNet, uint16(2000))
	f.Add(tail(netHeader(1, 0, 0, 0, 46, 6), udp), allNet, uint16(0))
	f.Add(tail(netHeader(1, 0, 0, 0, 60, 9), udp), allNet, uint16(0))
	f.Add(tail(netHeader(7, 3, 65535, 65535, 65535, 65535), udp), ^uint64(0), uint16(1))
	c := buftest.NewCache(f, 128)
	f.Fuzz(func(t *testing.T, in []byte, features uint64, first uint16) {
		if len(in) < 12+14 || len(in) > 12+70000 {
			return
		}
		h, frame := virtq.NetHeader(in), in[12:]
		if first < 14 {
			first = 14
		}
		b := inBuffers(t, c, frame, int(first))
		defer c.Free(b)
		verdict := h.Decode(b, features)
		if b.Len() != len(frame) {
			t.Fatalf("%d bytes became %d", len(frame), b.Len())
		}
		if verdict != virtq.HeaderOK {
			return
		}
		if b.OlFlags&buf.TxWork == 0 {
			checkDone(t, b, &h, frame)
			return
		}
		checkMarks(t, c, b)
		var again virtq.NetHeader
		if !again.Encode(b, allNet, 1) {
			t.Fatalf("flags %x, lengths %+v cannot be told to another guest", b.OlFlags, b.Lengths())
		}
		twin := inBuffers(t, c, buftest.Frame(b), int(first))
		defer c.Free(twin)
		if v := again.Decode(twin, allNet); v != virtq.HeaderOK || twin.OlFlags != b.OlFlags || twin.TxOffload != b.TxOffload || !bytes.Equal(buftest.Frame(twin), buftest.Frame(b)) {
			t.Fatalf("verdict %d, flags %x lengths %+v, were %x %+v", v, twin.OlFlags, twin.Lengths(), b.OlFlags, b.Lengths())
		}
	})
}

// checkDone checks a frame that needs nothing more: it is as it came, but for a
// checksum that was asked for, which is the plain sum's.
func checkDone(t *testing.T, b *buf.Buf, h *virtq.NetHeader, frame []byte) {
	if b.NbSegs != 1 || b.OlFlags != 0 {
		t.Fatalf("%d buffers, flags %x", b.NbSegs, b.OlFlags)
	}
	want := bytes.Clone(frame)
	if h[0]&1 != 0 {
		start, offset := int(binary.LittleEndian.Uint16(h[6:])), int(binary.LittleEndian.Uint16(h[8:]))
		var sum uint64
		for i, c := range want[start:] {
			sum += uint64(c) << (8 * (1 - i&1))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		if sum = 0xffff - sum; sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(want[start+offset:], uint16(sum))
	}
	if !bytes.Equal(b.Data(), want) {
		t.Fatalf("%x, want %x", b.Data(), want)
	}
}

// checkMarks checks that b's flags can be done.
func checkMarks(t *testing.T, c *buf.Cache, b *buf.Buf) {
	l := b.Lengths()
	if l.L2+l.L3+l.L4 > int(b.DataLen) || l.OuterL2 != 0 || l.OuterL3 != 0 {
		t.Fatalf("lengths %+v of %d bytes in the first buffer", l, b.DataLen)
	}
	if b.OlFlags&buf.TxTCPSeg == 0 {
		one := inBuffers(t, c, buftest.Frame(b), b.Len())
		defer c.Free(one)
		one.OlFlags, one.TxOffload = b.OlFlags, b.TxOffload
		if b.NbSegs != 1 || !offload.Complete(one) {
			t.Fatalf("flags %x, lengths %+v cannot be completed", b.OlFlags, l)
		}
		return
	}
	var k offload.Cutter
	if r := k.Start(b, false); r != stats.DropNone && r != stats.DropTooBig || r == stats.DropNone && (k.Left() < 2 || k.Left() > virtq.MaxSegments) {
		t.Fatalf("flags %x, lengths %+v cannot be cut: %v, %d segments", b.OlFlags, l, r, k.Left())
	}
}
