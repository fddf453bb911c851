package overlay

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// everybody knows all hosts but one.
type everybody struct{ but uint32 }

func (e everybody) Neighbour(ip uint32) (flow.Neighbour, bool) { return flow.Neighbour{}, ip != e.but }

// endpoints are two hosts' ends: what the first pushes, the second receives.
func endpoints(t *testing.T) (from, to *Endpoint) {
	t.Helper()
	var e [2]*Endpoint
	for i := range e {
		var err error
		e[i], err = New(Config{
			IP: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24), MAC: flow.MAC{2, 0, 0, 0, 0, byte(i + 1)}, MTU: 1600,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return e[0], e[1]
}

// tunnelled is a frame that e sends.
func tunnelled(t *rapid.T, e *Endpoint, b *buf.Buf, to *Endpoint) []byte {
	inner := rapid.SliceOfN(rapid.Byte(), ethSize, 100).Draw(t, "inner")
	tun := action.Tunnel{
		VNI: rapid.Uint32Max(1<<24-1).Draw(t, "VNI"), Dst: to.ip, MAC: to.cfg.MAC,
		SrcPort: rapid.Uint16().Draw(t, "from"), DstPort: rapid.Uint16().Draw(t, "to"),
		Flags: rapid.Uint16().Draw(t, "flags"), Command: rapid.Uint16().Draw(t, "command"),
	}
	b.SetFrame(inner)
	if r := e.Push(b, &tun, rapid.Uint64().Draw(t, "hash")); r != stats.DropNone {
		t.Fatal(r)
	}
	f := append([]byte(nil), b.Data()...)
	return append(f, make([]byte, rapid.IntRange(0, 9).Draw(t, "padding"))...)
}

// TestCommonIsGeneral: whatever frame Receive takes the short way, general says the same of
// it; and it takes the short way for what other hosts send.
func TestCommonIsGeneral(t *testing.T) {
	pool, err := buf.NewPool(2, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]*buf.Buf, 2)
	pool.Get(v)
	from, to := endpoints(t)
	rapid.Check(t, func(t *rapid.T) {
		f := tunnelled(t, from, v[0], to)
		if !shortAsGeneral(t, to, v, f, meets(from.ip)) {
			t.Fatalf("%x: not the short way", f)
		}
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, min(len(f), commonSize)-1).Draw(t, "at")
			f[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		f = f[:rapid.SampledFrom([]int{len(f), len(f), len(f) - 1, commonSize - 1}).Draw(t, "size")]
		peers := meets(from.ip)
		if rapid.Bool().Draw(t, "stranger") {
			peers.Use(everybody{from.ip})
		} else {
			peers.Has(from.ip ^ 1<<rapid.IntRange(0, 31).Draw(t, "other"))
		}
		shortAsGeneral(t, to, v, f, peers)
	})
	pool.Put(v)
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// meets are peers of whom ip was met.
func meets(ip uint32) *Peers {
	p := new(Peers)
	p.Use(everybody{})
	p.Has(ip)
	return p
}

// shortAsGeneral reports whether to takes f, which it puts into both v, the short way; what
// that says of it must be what general says.
func shortAsGeneral(t *rapid.T, to *Endpoint, v []*buf.Buf, f []byte, peers *Peers) bool {
	if len(f) < commonSize {
		return false
	}
	for _, b := range v {
		b.SetFrame(f)
		b.OlFlags = buf.RxL4Good
	}
	before := *peers // general makes acquaintances
	var keys [2]flow.Key
	verdict, reason := to.general(v[1], &before, &keys[1])
	if !to.common((*[commonSize]byte)(v[0].Data()), v[0], peers, &keys[0]) {
		return false
	}
	if verdict != Deliver || keys[0] != keys[1] || string(v[0].Data()) != string(v[1].Data()) || v[0].OlFlags != v[1].OlFlags {
		t.Fatalf("%x:\ncommon  %v %x\ngeneral %v %v %v %x", f, keys[0], v[0].Data(), verdict, reason, keys[1], v[1].Data())
	}
	return true
}

// TestPushBurstIsPush: PushBurst writes what Push writes, whatever the packets are.
func TestPushBurstIsPush(t *testing.T) {
	const num = 4
	pool, err := buf.NewPool(2*num, buf.DefaultDataRoom)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*buf.Buf, 2*num)
	pool.Get(all)
	e, _ := endpoints(t)
	rapid.Check(t, func(t *rapid.T) {
		var (
			v       buf.Vec
			tunnels [buf.Burst]*action.Tunnel
			hashes  [buf.Burst]uint64
			reasons [buf.Burst]stats.DropReason
		)
		set := rapid.Uint32Max(1<<num-1).Draw(t, "set")
		for i := range num {
			frame := rapid.SliceOfN(rapid.Byte(), ethSize, 60).Draw(t, "frame")
			if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
				frame = make([]byte, e.maxFrame+rapid.IntRange(-1, 1).Draw(t, "over"))
			}
			off := uint16(rapid.SampledFrom([]int{buf.Headroom, buf.Headroom, HeaderSize, HeaderSize - 1}).Draw(t, "headroom"))
			flags := rapid.SampledFrom([]uint64{0, 0, buf.TxUDPCksum | buf.TxIPv4}).Draw(t, "flags")
			for _, b := range []*buf.Buf{all[i], all[num+i]} {
				b.SetFrame(frame)
				copy(b.Prepend(HeaderSize), make([]byte, HeaderSize))
				b.Trim(HeaderSize)
				b.DataOff, b.OlFlags = off, flags
				copy(b.Data(), frame)
			}
			v[i], hashes[i] = all[i], rapid.Uint64().Draw(t, "hash")
			tunnels[i] = &action.Tunnel{
				VNI: rapid.Uint32Max(1<<24-1).Draw(t, "VNI"), Dst: rapid.Uint32().Draw(t, "dst"),
				MAC:     flow.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "MAC")),
				SrcPort: rapid.Uint16().Draw(t, "from"), DstPort: rapid.Uint16().Draw(t, "to"),
				Flags: rapid.Uint16().Draw(t, "flags"), Command: rapid.Uint16().Draw(t, "command"),
			}
		}
		e.PushBurst(&v, set, &tunnels, &hashes, &reasons)
		for i := range num {
			b, twin, want := all[i], all[num+i], stats.DropNone
			if set>>i&1 != 0 {
				want = e.Push(twin, tunnels[i], hashes[i])
			}
			if reasons[i] != want || string(b.Data()) != string(twin.Data()) || b.PktLen != twin.PktLen ||
				b.OlFlags != twin.OlFlags || b.TxOffload != twin.TxOffload {
				t.Fatalf("packet %d: %v, %x; Push: %v, %x", i, reasons[i], b.Data(), want, twin.Data())
			}
		}
	})
	pool.Put(all)
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}
