package parse_test

import (
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

// burstOf is Burst for one frame; ok tells whether it was of the common case.
func burstOf(b *buf.Buf, frame []byte) (k flow.Key, ok bool) {
	b.SetFrame(frame)
	var keys [buf.Burst]flow.Key
	odd := parse.Burst(&buf.Vec{b}, 1, &keys)
	return keys[0], odd == 0
}

// TestBurstIsFrame: what Burst takes, Frame takes, with the same key; and it takes what
// most frames are.
func TestBurstIsFrame(t *testing.T) {
	b := buftest.NewBuf(t)
	common := 0
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		if rapid.Bool().Draw(t, "plain") {
			p = hdrtest.Packet{Src: a4, Dst: b4, Proto: rapid.SampledFrom([]uint8{hdr.ProtoUDP, hdr.ProtoTCP}).Draw(t, "protocol"),
				TOS: rapid.Byte().Draw(t, "TOS"), SrcPort: rapid.Uint16().Draw(t, "from"), DstPort: rapid.Uint16().Draw(t, "to"), Payload: make([]byte, 20)}
		}
		f := p.Bytes()
		if len(f) > buf.DefaultDataRoom-buf.Headroom {
			return
		}
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, min(len(f), 60)-1).Draw(t, "at")
			f[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		f = f[:rapid.SampledFrom([]int{len(f), len(f), len(f) - 1, len(f) / 2}).Draw(t, "size")]
		got, ok := burstOf(b, f)
		if !ok {
			return
		}
		common++
		var want flow.Key
		if r := parse.Frame(f, &want); r != stats.DropNone || got != want {
			t.Fatalf("%x:\nBurst %s\nFrame %s, %s", f, got, want, r)
		}
	})
	if common == 0 {
		t.Error("no frame was of the common case")
	}
}

// TestBurstTakesMost: plain TCP and UDP over IPv4, of any size from the smallest Ethernet frame on.
func TestBurstTakesMost(t *testing.T) {
	b := buftest.NewBuf(t)
	for _, proto := range []uint8{hdr.ProtoUDP, hdr.ProtoTCP} {
		for _, size := range []int{18, 64, 1400} {
			p := hdrtest.Packet{Src: a4, Dst: b4, Proto: proto, SrcPort: 1, DstPort: 2, Payload: make([]byte, size)}
			if _, ok := burstOf(b, p.Bytes()); !ok {
				t.Errorf("protocol %d, %d bytes: not of the common case", proto, size)
			}
		}
	}
	vec := buf.Vec{b}
	var keys [buf.Burst]flow.Key
	if n := testing.AllocsPerRun(100, func() { parse.Burst(&vec, 1, &keys) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
