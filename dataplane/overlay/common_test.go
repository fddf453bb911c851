package overlay

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
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
func tunnelled(t *rapid.T, e *Endpoint, at *buftest.Edge, to *Endpoint) []byte {
	inner := rapid.SliceOfN(rapid.Byte(), ethSize, 100).Draw(t, "inner")
	f := sent(t, e, at, inner, randomTunnel(t, to.ip, to.cfg.MAC), rapid.Uint64().Draw(t, "hash"))
	return append(f, make([]byte, rapid.IntRange(0, 9).Draw(t, "padding"))...)
}

// sent is inner in the tunnel of e.
func sent(t rapid.TB, e *Endpoint, at *buftest.Edge, inner []byte, tun *action.Tunnel, hash uint64) []byte {
	b := at.Lay(inner)
	if r := e.Push(b, tun, hash); r != stats.DropNone {
		t.Fatal(r)
	}
	return append([]byte(nil), b.Data()...)
}

// randomTunnel leads to the host at dst.
func randomTunnel(t *rapid.T, dst uint32, mac flow.MAC) *action.Tunnel {
	return &action.Tunnel{
		VNI: rapid.Uint32Max(1<<24-1).Draw(t, "VNI"), Dst: dst, MAC: mac,
		SrcPort: rapid.Uint16().Draw(t, "from"), DstPort: rapid.Uint16().Draw(t, "to"),
		Flags: rapid.Uint16().Draw(t, "flags"), Command: rapid.Uint16().Draw(t, "command"),
	}
}

// edges are two buffers at the edge of memory.
func edges(t *testing.T) (v [2]*buftest.Edge) {
	return [2]*buftest.Edge{buftest.NewEdge(t), buftest.NewEdge(t)}
}

// TestCommonIsGeneral: whatever frame Receive takes the short way, general says the same of
// it; and it takes the short way for what other hosts send.
func TestCommonIsGeneral(t *testing.T) {
	v := edges(t)
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
}

// goodFrame is a tunnel packet that goes the short way: it has an inner frame of 40 bytes, and
// padding.
func goodFrame(t *testing.T, from, to *Endpoint, at *buftest.Edge, padding int) []byte {
	t.Helper()
	tun := action.Tunnel{VNI: 0x123456, Dst: to.ip, MAC: to.cfg.MAC, SrcPort: 0x789a, DstPort: 0xbcde, Flags: 0xf012, Command: 0x3456}
	inner := make([]byte, 40)
	for i := range inner {
		inner[i] = byte(i)
	}
	f := append(sent(t, from, at, inner, &tun, 0x89ab), make([]byte, padding)...)
	if !shortAsGeneral(t, to, [2]*buftest.Edge{at, at}, f, meets(from.ip)) {
		t.Fatalf("%x: not the short way", f)
	}
	return f
}

// resum makes the checksum of f's outer IPv4 header right.
func resum(f []byte) {
	be.PutUint16(f[ethSize+10:], 0)
	be.PutUint16(f[ethSize+10:], hdr.Checksum(f[ethSize:ethSize+ipSize]))
}

// TestCommonIsGeneral_bits: the same of a good frame of which one bit is wrong, each of those
// that common looks at; with the IPv4 checksum as it was, and right again. Chance finds the
// bit that matters in some runs only.
func TestCommonIsGeneral_bits(t *testing.T) {
	v := edges(t)
	from, to := endpoints(t)
	for _, padding := range []int{0, 300} { // behind it a larger total length would fit
		good := goodFrame(t, from, to, v[0], padding)
		short := 0
		for bit := range 8 * commonSize {
			for _, right := range []bool{false, true} {
				f := append([]byte(nil), good...)
				f[bit/8] ^= 1 << (bit % 8)
				if right {
					resum(f)
				}
				if shortAsGeneral(t, to, v, f, acquainted(t, to, v[0], from.ip, f)) {
					short++
				}
			}
		}
		if want := 2 * 8 * (6 + 3 + 8 + ethSize); short < want { // at the least: source MAC, VNI, our option's data, inner header
			t.Errorf("%d of the changed frames went the short way, want %d", short, want)
		}
	}
}

// TestCommonIsGeneral_lengths: the same of a good frame whose outer lengths are others, with
// right checksum: where all agree but for the frame's end, and where they do not.
func TestCommonIsGeneral_lengths(t *testing.T) {
	v := edges(t)
	from, to := endpoints(t)
	for _, padding := range []int{0, 1, 9} {
		f := goodFrame(t, from, to, v[0], padding)
		for total := range len(f) + 5 {
			for udp := max(total-ipSize-2, 0); udp <= total-ipSize+2; udp++ {
				be.PutUint16(f[ethSize+2:], uint16(total))
				be.PutUint16(f[ethSize+ipSize+4:], uint16(udp))
				resum(f)
				short := shortAsGeneral(t, to, v, f, meets(from.ip))
				if want := udp == total-ipSize && total >= commonSize-ethSize && total <= len(f)-ethSize; short != want {
					t.Errorf("IPv4 of %d bytes, UDP of %d in a frame of %d: the short way %v, want %v", total, udp, len(f), short, want)
				}
			}
		}
	}
}

// TestCommonIsGeneral_ourselves: a frame from our own address goes no short way, even if we
// are among our peers.
func TestCommonIsGeneral_ourselves(t *testing.T) {
	v := edges(t)
	from, to := endpoints(t)
	f := goodFrame(t, from, to, v[0], 0)
	be.PutUint32(f[ethSize+12:], to.ip)
	resum(f)
	if shortAsGeneral(t, to, v, f, meets(to.ip)) {
		t.Error("it went the short way")
	}
}

// acquainted are peers as they are after a good frame from ip and one like f.
func acquainted(t rapid.TB, to *Endpoint, at *buftest.Edge, ip uint32, f []byte) *Peers {
	peers := meets(ip)
	var k flow.Key
	buftest.Inside(t, func() { to.general(at.Lay(f), peers, &k) }, at)
	return peers
}

// meets are peers of whom ip was met.
func meets(ip uint32) *Peers {
	p := new(Peers)
	p.Use(everybody{})
	p.Has(ip)
	return p
}

// shortAsGeneral reports whether to takes f, which it lays into both v, the short way; what
// that says of it must be what general says.
func shortAsGeneral(t rapid.TB, to *Endpoint, v [2]*buftest.Edge, f []byte, peers *Peers) (short bool) {
	t.Helper()
	if len(f) < commonSize {
		return false
	}
	before := *peers // general makes acquaintances
	var want flow.Key
	var verdict Verdict
	var reason stats.DropReason
	var frame []byte
	var flags uint64
	buftest.Inside(t, func() {
		b := v[1].Lay(f)
		b.OlFlags = buf.RxL4Good
		verdict, reason = to.general(b, &before, &want)
		frame, flags = append(frame, b.Data()...), b.OlFlags
	}, v[1])
	buftest.Inside(t, func() {
		var k flow.Key
		b := v[0].Lay(f)
		b.OlFlags = buf.RxL4Good
		if short = to.common((*[commonSize]byte)(b.Data()), b, peers, &k); !short {
			if b.Headroom() != buf.Headroom || b.OlFlags != buf.RxL4Good || string(b.Data()) != string(f) || k != (flow.Key{}) {
				t.Fatalf("%x: declined, and changed", f)
			}
			return
		}
		if verdict != Deliver {
			t.Fatalf("%x: common takes it, general says %v, %v", f, verdict, reason)
		}
		if k != want || string(b.Data()) != string(frame) || b.OlFlags != flags || b.Len() != len(frame) {
			t.Fatalf("%x:\ncommon  %v %x\ngeneral %v %x", f, k, b.Data(), want, frame)
		}
	}, v[0])
	return short
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
			if i > 0 && rapid.Bool().Draw(t, "train") {
				tunnels[i] = tunnels[i-1]
				continue
			}
			tunnels[i] = randomTunnel(t, rapid.Uint32().Draw(t, "dst"), flow.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "MAC")))
		}
		e.PushBurst(&v, set, &tunnels, &hashes, &reasons)
		for i := range num {
			b, twin, want := all[i], all[num+i], stats.DropNone
			if set>>i&1 != 0 {
				want = e.Push(twin, tunnels[i], hashes[i])
			}
			samePushed(t, i, reasons[i], want, b, twin)
		}
	})
	pool.Put(all)
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// samePushed compares packet i of PushBurst, b, with what Push made of its twin.
func samePushed(t rapid.TB, i int, reason, want stats.DropReason, b, twin *buf.Buf) {
	t.Helper()
	if reason != want || string(b.Data()) != string(twin.Data()) || b.PktLen != twin.PktLen ||
		b.OlFlags != twin.OlFlags || b.TxOffload != twin.TxOffload {
		t.Fatalf("packet %d: %v, %x; Push: %v, %x", i, reason, b.Data(), want, twin.Data())
	}
}

// TestPushBurst_trains: each frame of a train has headers of its own size, and each tunnel's
// frames that tunnel's: what is kept from one frame to the next is of this frame.
func TestPushBurst_trains(t *testing.T) {
	e, to := endpoints(t)
	one := action.Tunnel{VNI: 0x123456, Dst: to.ip, MAC: to.cfg.MAC, SrcPort: 0x789a, DstPort: 0xbcde, Flags: 0xf012, Command: 0x3456}
	other := action.Tunnel{VNI: 0xfedcba, Dst: 0x0a141e28, MAC: flow.MAC{2, 9, 8, 7, 6, 5}, SrcPort: 0x4321, DstPort: 0x8765, Flags: 0xcba9, Command: 0x0fed}
	equal := one // a tunnel of the same content at another place
	const all = 1<<8 - 1
	const asks, tooBig = 6, 3 // frames that go Push's way, if there are any: in the midst of a train
	for name, c := range map[string]struct {
		tunnels [8]*action.Tunnel
		sizes   [8]int
		set     uint32
		odd     bool
	}{
		"mixed sizes":     {[8]*action.Tunnel{&one, &one, &one, &one, &one, &one, &one, &one}, [8]int{64, 1400, 65, 64, 64, 14, 1400, 64}, all, false},
		"equal sizes":     {[8]*action.Tunnel{&one, &one, &one, &one, &one, &one, &one, &one}, [8]int{64, 64, 64, 64, 64, 64, 64, 64}, all, false},
		"in turn":         {[8]*action.Tunnel{&one, &other, &one, &other, &one, &other, &one, &other}, [8]int{64, 64, 64, 64, 64, 64, 64, 64}, all, false},
		"in turn, mixed":  {[8]*action.Tunnel{&one, &one, &other, &other, &one, &equal, &equal, &other}, [8]int{64, 65, 65, 64, 64, 64, 65, 65}, all, false},
		"with holes":      {[8]*action.Tunnel{&one, &other, &one, &other, &one, &one, &other, &one}, [8]int{64, 65, 64, 65, 66, 64, 64, 66}, 0b10111101, false},
		"others in midst": {[8]*action.Tunnel{&one, &one, &other, &one, &one, &one, &one, &one}, [8]int{64, 64, 65, 64, 66, 64, 64, 64}, all, true},
	} {
		t.Run(name, func(t *testing.T) {
			var (
				v, twins buf.Vec
				tunnels  [buf.Burst]*action.Tunnel
				hashes   [buf.Burst]uint64
				reasons  [buf.Burst]stats.DropReason
			)
			bufs := buftest.NewCache(t, 16)
			for i, size := range c.sizes {
				if c.odd && i == tooBig {
					size = e.maxFrame + 1
				}
				tunnels[i], hashes[i] = c.tunnels[i], uint64(i)*0x1234567
				for _, to := range []*buf.Vec{&v, &twins} {
					to[i] = bufs.Alloc()
					to[i].SetFrame(make([]byte, size))
					if c.odd && i == asks {
						to[i].OlFlags = buf.TxUDPCksum | buf.TxIPv4
					}
				}
			}
			e.PushBurst(&v, c.set, &tunnels, &hashes, &reasons)
			for i := range c.sizes {
				want := stats.DropNone
				if c.set>>i&1 != 0 {
					want = e.Push(twins[i], tunnels[i], hashes[i])
				}
				samePushed(t, i, reasons[i], want, v[i], twins[i])
			}
			bufs.FreeAll(&v, len(c.sizes))
			bufs.FreeAll(&twins, len(c.sizes))
		})
	}
}
