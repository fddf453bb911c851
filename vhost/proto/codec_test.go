package proto_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"baton/vhost/proto"
)

func genRegion() *rapid.Generator[proto.MemRegion] {
	return rapid.Custom(func(t *rapid.T) proto.MemRegion {
		return proto.MemRegion{
			GuestAddr: rapid.Uint64().Draw(t, "guest"), Size: rapid.Uint64().Draw(t, "size"),
			UserAddr: rapid.Uint64().Draw(t, "user"), MmapOffset: rapid.Uint64().Draw(t, "offset"), FD: -1,
		}
	})
}

// TestCodecRoundTrip checks that decoding undoes encoding for every payload.
func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := proto.Header{
			Request: proto.Request(rapid.Uint32().Draw(t, "request")),
			Flags:   rapid.Uint32().Draw(t, "flags")&^proto.FlagVersionMask | proto.FlagVersion,
			Size:    rapid.Uint32Range(0, proto.MaxPayload).Draw(t, "size"),
		}
		same(t, h, must(proto.DecodeHeader(proto.AppendHeader(nil, h))))
		v := rapid.Uint64().Draw(t, "word")
		same(t, v, must(proto.DecodeU64(proto.AppendU64(nil, v))))
		s := proto.VringState{Index: rapid.Uint32().Draw(t, "index"), Num: rapid.Uint32().Draw(t, "num")}
		same(t, s, must(proto.DecodeVringState(proto.AppendVringState(nil, s))))
		a := proto.VringAddr{Index: s.Index, Flags: s.Num, Desc: v, Used: v + 1, Avail: v + 2, Log: v + 3}
		same(t, a, must(proto.DecodeVringAddr(proto.AppendVringAddr(nil, a))))
		r := rapid.SliceOfN(genRegion(), 1, proto.MaxRegions).Draw(t, "regions")
		same(t, r, must(proto.DecodeMemTable(proto.AppendMemTable(nil, r))))
		same(t, r[0], must(proto.DecodeMemReg(proto.AppendMemReg(nil, r[0]))))
		size, offset, err := proto.DecodeLog(proto.AppendLog(nil, v, v+9))
		if err != nil || size != v || offset != v+9 {
			t.Fatalf("log %d %d %v", size, offset, err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func same[T any](t *rapid.T, want, got T) {
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

// TestHeaderLayout pins the wire format to bytes written by hand, in the order
// of this machine.
func TestHeaderLayout(t *testing.T) {
	want := binary.NativeEndian.AppendUint32(nil, 12)
	want = binary.NativeEndian.AppendUint32(want, 9)
	want = binary.NativeEndian.AppendUint32(want, 8)
	got := proto.AppendHeader(nil, proto.Header{Request: proto.SetVringKick, Flags: proto.FlagVersion | proto.FlagNeedReply, Size: 8})
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	if proto.ReplyFlags != 5 {
		t.Errorf("reply flags are %#x", proto.ReplyFlags)
	}
}

// FuzzDecode checks every payload decoder: it never panics, an error comes with
// the zero value, and what it accepts encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(proto.AppendHeader(nil, proto.Header{Request: 1, Flags: 1}))
	f.Add(u64(1))
	f.Add(vringAddr(1, 1))
	f.Add(table(1))
	f.Add(table(8))
	f.Add(region(1, 2))
	f.Add(proto.AppendLog(nil, 1, 2))
	f.Fuzz(func(t *testing.T, p []byte) {
		decode(t, p, proto.DecodeU64, func(v uint64) []byte { return proto.AppendU64(nil, v) })
		decode(t, p, proto.DecodeVringState, func(v proto.VringState) []byte { return proto.AppendVringState(nil, v) })
		decode(t, p, proto.DecodeVringAddr, func(v proto.VringAddr) []byte { return proto.AppendVringAddr(nil, v) })
		if r, err := proto.DecodeMemTable(p); err != nil && r != nil {
			t.Errorf("error %v with regions", err)
		} else if err == nil {
			// Bytes 4 to 7 are padding.
			if out := proto.AppendMemTable(nil, r); !bytes.Equal(out[8:], p[8:]) || !bytes.Equal(out[:4], p[:4]) {
				t.Errorf("table % x became % x", p, out)
			}
		}
		if h, err := proto.DecodeHeader(p); err != nil && h != (proto.Header{}) {
			t.Errorf("error %v with %v", err, h)
		}
	})
}

func decode[T comparable](t *testing.T, p []byte, dec func([]byte) (T, error), enc func(T) []byte) {
	v, err := dec(p)
	var zero T
	switch {
	case err != nil && (v != zero || !errors.Is(err, proto.ErrPayload)):
		t.Errorf("error %v with %v", err, v)
	case err == nil && !bytes.Equal(enc(v), p):
		t.Errorf("% x became % x", p, enc(v))
	}
}

// FuzzSession throws bytes with descriptors at a session, cut into pieces: it
// must neither panic nor hang, tell the device once of the end, and leak nothing.
// Each byte of cuts is a piece: low six bits its length, high two bits the number
// of descriptors that come with it.
func FuzzSession(f *testing.F) {
	script := func(steps []step) (stream, cuts []byte) {
		for _, s := range steps {
			msg := append(proto.AppendHeader(nil, proto.Header{Request: s.req, Flags: 9, Size: uint32(len(s.payload))}), s.payload...)
			stream = append(stream, msg...)
			for n := len(msg); n > 0; n -= 63 {
				cuts = append(cuts, byte(min(n, 63)|min(s.fds, 3)<<6))
				s.fds = 0
			}
		}
		return stream, cuts
	}
	for _, steps := range [][]step{qemuScript(), virtioUserScript(), migrationScript()} {
		stream, cuts := script(steps)
		f.Add(stream, cuts)
	}
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255}, []byte{0xc1, 0x3f})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		dev := newRecorder()
		p := newPeer(t, dev)
		go func() { // replies are not the matter here, but must find a reader
			var m proto.Message
			for p.conn.Read(&m, nil) == nil {
				m.CloseFDs()
			}
		}()
		for _, c := range cuts {
			n := min(int(c&63), len(stream))
			if n == 0 {
				break
			}
			fds := make([]int, c>>6)
			for i := range fds {
				fds[i] = p.events
			}
			if p.conn.WriteRaw(stream[:n], fds...) != nil {
				break // the session has ended
			}
			stream = stream[n:]
		}
		p.conn.Close()
		<-p.session.Done()
		if p.session.Err() == nil || dev.disconnects() != 1 {
			t.Errorf("ended: %v, device told %d times", p.session.Err(), dev.disconnects())
		}
	})
}
