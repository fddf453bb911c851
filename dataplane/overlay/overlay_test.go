package overlay_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"baton/dataplane/action"
	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/flow"
	"baton/dataplane/hdr"
	"baton/dataplane/overlay"
	"baton/dataplane/stats"
)

var (
	ourMAC  = flow.MAC{2, 0, 0, 0, 0, 1}
	peerMAC = flow.MAC{2, 0, 0, 0, 0, 2}
	ourIP   = ip("192.0.2.1")
	peerIP  = ip("192.0.2.2")
)

func ip(s string) uint32 { return flow.IPv4(netip.MustParseAddr(s)) }

// hosts is a naive set of neighbours.
type hosts []uint32

func (h hosts) Neighbour(ip uint32) (flow.Neighbour, bool) {
	for _, a := range h {
		if a == ip {
			return flow.Neighbour{IP: a, MAC: peerMAC}, true
		}
	}
	return flow.Neighbour{}, false
}

func endpoint(t testing.TB, mtu int) *overlay.Endpoint {
	t.Helper()
	e, err := overlay.New(overlay.Config{IP: netip.MustParsePrefix("192.0.2.1/24"), MAC: ourMAC, MTU: mtu})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// peerEnd is the end point of the other host.
func peerEnd(t testing.TB) *overlay.Endpoint {
	t.Helper()
	e, err := overlay.New(overlay.Config{IP: netip.MustParsePrefix("192.0.2.2/24"), MAC: peerMAC, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func peers() *overlay.Peers {
	p := &overlay.Peers{}
	p.Use(hosts{peerIP, ip("192.0.2.3")})
	return p
}

// newBuf is a buffer with frame; it goes back when the test ends.
func newBuf(t testing.TB, frame []byte) *buf.Buf {
	t.Helper()
	b := buftest.NewBuf(t)
	if !b.SetFrame(frame) {
		t.Fatalf("frame of %d bytes does not fit", len(frame))
	}
	return b
}

// innerFrame is an Ethernet frame of size bytes with an unknown type.
func innerFrame(size int) []byte {
	f := make([]byte, size)
	copy(f, []byte{2, 0xaa, 0, 0, 0, 9, 2, 0xaa, 0, 0, 0, 8, 0x88, 0xb5})
	for i := 14; i < size; i++ {
		f[i] = byte(i)
	}
	return f
}

var tunnel = action.Tunnel{
	VNI: 0xabcdef, Dst: ourIP, MAC: ourMAC, SrcPort: 0x1122, DstPort: 0x3344, Flags: flow.FlagTrace, Command: 0x5566,
}

// outerFrame is a good tunnel packet from the peer to us.
func outerFrame(t testing.TB, inner []byte) []byte {
	t.Helper()
	b := newBuf(t, inner)
	if r := peerEnd(t).Push(b, &tunnel, 7); r != stats.DropNone {
		t.Fatalf("push: %v", r)
	}
	return append([]byte(nil), b.Data()...)
}

// Offsets in a tunnel packet.
const (
	atIP     = 14
	atUDP    = 34
	atGeneve = 42
	atOption = 50
	atInner  = 62
)

// fixIP sets the outer IPv4 checksum right.
func fixIP(f []byte) {
	binary.BigEndian.PutUint16(f[atIP+10:], 0)
	binary.BigEndian.PutUint16(f[atIP+10:], hdr.Checksum(f[atIP:atIP+20]))
}

// fixLengths sets the outer lengths and the IPv4 checksum to what the frame has.
func fixLengths(f []byte) {
	binary.BigEndian.PutUint16(f[atIP+2:], uint16(len(f)-14))
	binary.BigEndian.PutUint16(f[atUDP+4:], uint16(len(f)-34))
	fixIP(f)
}

// withOptions is f with other Geneve options.
func withOptions(f, options []byte) []byte {
	g := append(append(append([]byte(nil), f[:atOption]...), options...), f[atInner:]...)
	g[atGeneve] = byte(len(options) / 4)
	fixLengths(g)
	return g
}

// receive gives frame to the end point.
func receive(t testing.TB, frame []byte) (overlay.Verdict, stats.DropReason, *buf.Buf, flow.Key) {
	t.Helper()
	b := newBuf(t, frame)
	var k flow.Key
	v, r := endpoint(t, 1500).Receive(b, peers(), &k)
	if (v == overlay.Drop) != (r != stats.DropNone) {
		t.Fatalf("verdict %v with reason %v", v, r)
	}
	return v, r, b, k
}

// wantDrop checks that frame is dropped for the reason.
func wantDrop(t *testing.T, what string, frame []byte, want stats.DropReason) {
	t.Helper()
	if v, r, _, _ := receive(t, frame); v != overlay.Drop || r != want {
		t.Errorf("%s: %v, %v; want drop, %v", what, v, r, want)
	}
}

// wantInner checks that frame is delivered with the inner frame.
func wantInner(t *testing.T, what string, frame, inner []byte) flow.Key {
	t.Helper()
	v, r, b, k := receive(t, frame)
	if v != overlay.Deliver {
		t.Errorf("%s: %v, %v; want deliver", what, v, r)
		return k
	}
	if string(b.Data()) != string(inner) {
		t.Errorf("%s: inner frame\n%x, want\n%x", what, b.Data(), inner)
	}
	return k
}

func TestNewRefuses(t *testing.T) {
	good := overlay.Config{IP: netip.MustParsePrefix("192.0.2.1/24"), MAC: ourMAC, MTU: 1500}
	for name, edit := range map[string]func(c *overlay.Config){
		"no address": func(c *overlay.Config) { c.IP = netip.Prefix{} },
		"IPv6":       func(c *overlay.Config) { c.IP = netip.MustParsePrefix("2001:db8::1/64") },
		"multicast":  func(c *overlay.Config) { c.IP = netip.MustParsePrefix("224.0.0.1/24") },
		"loopback":   func(c *overlay.Config) { c.IP = netip.MustParsePrefix("127.0.0.1/8") },
		"group MAC":  func(c *overlay.Config) { c.MAC[0] = 3 },
		"no MAC":     func(c *overlay.Config) { c.MAC = flow.MAC{} },
		"small MTU":  func(c *overlay.Config) { c.MTU = 1300 },
		"large MTU":  func(c *overlay.Config) { c.MTU = 65536 },
	} {
		c := good
		edit(&c)
		if e, err := overlay.New(c); err == nil || e != nil {
			t.Errorf("%s: %v, %v; want an error", name, e, err)
		}
	}
	e, err := overlay.New(good)
	if err != nil {
		t.Fatal(err)
	}
	if e.InnerMTU() != 1438 || e.IP() != ourIP || e.Config() != good {
		t.Errorf("inner MTU %d, IP %#x, config %+v", e.InnerMTU(), e.IP(), e.Config())
	}
}

func TestPeers(t *testing.T) {
	var all hosts
	for i := range uint32(2000) { // more than are remembered, so that they collide
		all = append(all, ip("198.18.0.0")+i*3)
	}
	p := &overlay.Peers{}
	if p.Has(all[0]) {
		t.Error("an empty set has an address")
	}
	p.Use(all)
	for range 2 {
		for _, a := range all {
			if !p.Has(a) || p.Has(a+1) {
				t.Fatalf("%#x: %v, the one after it: %v", a, p.Has(a), p.Has(a+1))
			}
		}
	}
	if p.Has(0) {
		t.Error("0 is no host")
	}
	p.Use(hosts{peerIP})
	if p.Has(all[0]) || !p.Has(peerIP) {
		t.Error("the old hosts are still known, or the new one is not")
	}
}
