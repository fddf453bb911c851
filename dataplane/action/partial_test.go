package action_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/stats"
)

// TestPartialChecksum: to edit a frame and complete its checksum then is to complete
// it first and edit then; and of a super-segment, to edit and cut is to cut and edit.
func TestPartialChecksum(t *testing.T) {
	c := buftest.NewCache(t, 256)
	rapid.Check(t, func(t *rapid.T) {
		p := hdrtest.Random(t)
		p.ARP, p.FragOffset, p.MoreFragments, p.Padding, p.NoChecksum = 0, 0, false, 0, false
		p.Proto = rapid.SampledFrom([]uint8{hdr.ProtoTCP, hdr.ProtoUDP}).Draw(t, "proto")
		segment := 0
		if p.Proto == hdr.ProtoTCP && rapid.Bool().Draw(t, "super") {
			segment = rapid.IntRange(100, 1500).Draw(t, "segment")
			p.Payload = make([]byte, rapid.IntRange(1, 9000).Draw(t, "payload"))
			for i := range p.Payload {
				p.Payload[i] = byte(i * i >> 4)
			}
		}
		l := randomList(t, p)
		want := [][]byte{p.Bytes()}
		if segment > 0 {
			want = offloadtest.Cut(p.Bytes(), segment)
		}
		for i := range want {
			if r := action.Edit(want[i], &l); r != stats.DropNone {
				t.Fatal(r)
			}
			normalize(want[i])
		}
		b := offloadtest.Ask(c, p.Bytes(), segment, rapid.IntRange(128, 2048).Draw(t, "room"))
		defer c.Free(b)
		if r := action.Execute(b, &l); r != stats.DropNone {
			t.Fatal(r)
		}
		got := finished(t, c, b)
		if len(got) != len(want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i := range got {
			if normalize(got[i]); !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%+v with %+v: frame %d\n%x, want\n%x", p, l, i, got[i], want[i])
			}
		}
	})
}

// finished is what b is on a wire.
func finished(t *rapid.T, c *buf.Cache, b *buf.Buf) (out [][]byte) {
	if b.OlFlags&buf.TxTCPSeg == 0 {
		if !offload.Complete(b) {
			t.Fatal("cannot be completed")
		}
		return [][]byte{b.Data()}
	}
	var k offload.Cutter
	if r := k.Start(b, false); r != stats.DropNone {
		t.Fatal(r)
	}
	for k.Left() > 0 {
		s := k.Next(c)
		out = append(out, append([]byte(nil), s.Data()...))
		c.Free(s)
	}
	return out
}
