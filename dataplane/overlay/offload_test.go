package overlay_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/offload"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/overlay"
	"baton/dataplane/stats"
)

// TestPushKeepsWork: what is left to be done to a frame is still left in the tunnel,
// and the lengths lead to the inner headers; a super-segment is measured by its segments.
func TestPushKeepsWork(t *testing.T) {
	c := buftest.NewCache(t, 512)
	rapid.Check(t, func(rt *rapid.T) {
		frame := offloadtest.TCP(rt, 30000)
		l := offloadtest.Locate(frame)
		segment, room := 0, 2048
		if len(frame) > 1452 || rapid.Bool().Draw(rt, "super") {
			segment = rapid.IntRange(600, 1500).Draw(rt, "segment")
			room = rapid.IntRange(200, 2048).Draw(rt, "room")
		}
		b := offloadtest.Ask(c, frame, segment, room)
		defer c.Free(b)
		e := peerEnd(t)
		before := b.Lengths()
		size := len(frame)
		if segment > 0 {
			size = min(size, l.Payload+segment)
		}
		r := e.Push(b, &tunnel, 1)
		if size > 1452 {
			if r != stats.DropTooBig || b.Lengths() != before || b.Len() != len(frame) {
				rt.Fatalf("frames of %d bytes: %v", size, r)
			}
			return
		}
		want := before
		want.OuterL2, want.OuterL3, want.L2 = 14, 20, before.L2+28
		if r != stats.DropNone || b.Lengths() != want || b.OlFlags&(buf.TxTunnelMask|buf.TxOuterIPv4) != buf.TxTunnelGeneve|buf.TxOuterIPv4 {
			rt.Fatalf("%v, flags %x, %+v; want %+v", r, b.OlFlags, b.Lengths(), want)
		}
		if segment == 0 {
			if !offload.Complete(b) || !offloadtest.Equal(b.Data()[overlay.HeaderSize:], frame) {
				rt.Fatal("completed as another frame")
			}
			return
		}
		var k offload.Cutter
		if r := k.Start(b, false); r != stats.DropNone {
			rt.Fatal(r)
		}
		for _, f := range offloadtest.Cut(frame, segment) {
			s := k.Next(c)
			if s == nil || !bytes.Equal(s.Data()[overlay.HeaderSize:], f) || s.Len() > 1514 {
				rt.Fatal("cut into other frames")
			}
			// What another host makes of it: the frame, from a tunnel packet without fault.
			var key flow.Key
			if v, r := endpoint(t, 1500).Receive(s, peers(), &key); v != overlay.Deliver || !bytes.Equal(s.Data(), f) {
				rt.Fatalf("%v %v", v, r)
			}
			c.Free(s)
		}
	})
}

// TestChecksumState: what the NIC says about a checksum goes on to the guest only if
// it looked into the tunnel and could tell.
func TestChecksumState(t *testing.T) {
	const geneve, udp = 0x00006000, 0x00000200 // RTE_PTYPE_TUNNEL_GENEVE, RTE_PTYPE_L4_UDP
	for _, tt := range []struct {
		flags uint64
		kind  uint32
		want  uint64
	}{
		{buf.RxL4Good, geneve | udp, buf.RxL4Good},
		{buf.RxL4Bad, geneve | udp, buf.RxL4Bad},
		{buf.RxL4Good, udp, 0},
		{buf.RxL4Bad, udp, 0},
		{buf.RxL4Good | buf.RxL4Bad, geneve, 0},
		{0, geneve, 0},
	} {
		b := newBuf(t, innerFrame(100))
		if r := peerEnd(t).Push(b, &tunnel, 1); r != stats.DropNone {
			t.Fatal(r)
		}
		b.OlFlags, b.PacketType = tt.flags, tt.kind
		var k flow.Key
		if v, r := endpoint(t, 1500).Receive(b, peers(), &k); v != overlay.Deliver {
			t.Fatal(v, r)
		}
		if b.OlFlags != tt.want {
			t.Errorf("flags %x, type %x: %x, want %x", tt.flags, tt.kind, b.OlFlags, tt.want)
		}
	}
}
