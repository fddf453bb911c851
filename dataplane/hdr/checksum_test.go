package hdr_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
)

// TestSumLong holds the sum of long pieces, full of carries, against the naive one,
// at every alignment.
func TestSumLong(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fill := rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe, 0xff}).Draw(rt, "fill")
		b := bytes.Repeat([]byte{fill}, rapid.IntRange(0, 70000).Draw(rt, "size"))
		for range rapid.IntRange(0, 20).Draw(rt, "changes") {
			if len(b) > 0 {
				b[rapid.IntRange(0, len(b)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "to")
			}
		}
		b = b[rapid.IntRange(0, min(9, len(b))).Draw(rt, "skip"):]
		if got, want := hdr.Checksum(b), naive(b); got != want {
			rt.Fatalf("%d bytes: %04x, want %04x", len(b), got, want)
		}
	})
}

// TestComplete: a partial checksum that is completed is the full one.
func TestComplete(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := hdrtest.Packet{
			Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), SrcPort: rapid.Uint16().Draw(rt, "port"),
			Proto:   rapid.SampledFrom([]uint8{hdr.ProtoTCP, hdr.ProtoUDP}).Draw(rt, "proto"),
			Payload: rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(rt, "payload"),
		}
		want := p.Bytes()
		at, offset := 34, 16
		if p.Proto == hdr.ProtoUDP {
			offset = 6
		}
		got := bytes.Clone(want)
		pseudo := hdr.Pseudo(got[26:30], got[30:34], p.Proto, len(got)-at)
		binary.BigEndian.PutUint16(got[at+offset:], ^hdr.Finish(pseudo))
		if !hdr.Complete(got, at, offset) {
			rt.Fatal("refused")
		}
		if binary.BigEndian.Uint16(want[at+offset:]) == 0 { // a TCP checksum that came out as 0
			binary.BigEndian.PutUint16(want[at+offset:], 0xffff)
		}
		if !bytes.Equal(got, want) {
			rt.Fatalf("%x, want\n%x", got, want)
		}
	})
}

// Complete keeps inside the bytes it was given, and never writes 0.
func TestCompleteBounds(t *testing.T) {
	b := []byte{0xff, 0xff, 0, 0}
	for _, c := range [][2]int{{-1, 0}, {0, -1}, {0, 3}, {3, 0}, {4, 0}, {5, 0}, {1 << 40, 1 << 40}} {
		if hdr.Complete(b, c[0], c[1]) || !bytes.Equal(b, []byte{0xff, 0xff, 0, 0}) {
			t.Errorf("start %d, offset %d: took %x", c[0], c[1], b)
		}
	}
	if !hdr.Complete(b, 0, 2) || !bytes.Equal(b, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("%x", b)
	}
}

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{20, 64, 1460} {
		p := make([]byte, size)
		b.Run("fast/"+strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				hdr.Sum(p, 0)
			}
		})
		b.Run("naive/"+strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				naive(p)
			}
		})
	}
}
