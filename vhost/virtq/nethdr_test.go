package virtq_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/port"
	"baton/vhost/proto"
	"baton/vhost/virtq"
)

// Negotiated by a guest that takes and gives everything.
const allNet = virtq.NetCsum | virtq.NetGuestCsum | virtq.NetGuestTSO4 | virtq.NetGuestTSO6 | virtq.NetGuestECN |
	virtq.NetHostTSO4 | virtq.NetHostTSO6 | virtq.NetHostECN

// TestNetFeatures: the masks are those that the session negotiates.
func TestNetFeatures(t *testing.T) {
	for got, want := range map[uint64]uint64{
		virtq.NetCsum: proto.FeatureCsum, virtq.NetGuestCsum: proto.FeatureGuestCsum,
		virtq.NetGuestTSO4: proto.FeatureGuestTSO4, virtq.NetGuestTSO6: proto.FeatureGuestTSO6, virtq.NetGuestECN: proto.FeatureGuestECN,
		virtq.NetHostTSO4: proto.FeatureHostTSO4, virtq.NetHostTSO6: proto.FeatureHostTSO6, virtq.NetHostECN: proto.FeatureHostECN,
	} {
		if got != want {
			t.Errorf("%#x, want %#x", got, want)
		}
	}
}

// netHeader is a header by its fields.
func netHeader(flags, gso byte, hdrLen, gsoSize, start, offset int) *virtq.NetHeader {
	h := &virtq.NetHeader{flags, gso}
	for i, v := range []int{hdrLen, gsoSize, start, offset} {
		binary.LittleEndian.PutUint16(h[2+2*i:], uint16(v))
	}
	return h
}

// inBuffers copies frame into buffers of c, the first with up to first bytes.
func inBuffers(t testing.TB, c *buf.Cache, frame []byte, first int) *buf.Buf {
	b := c.Alloc()
	if b == nil {
		t.Fatal("no buffer")
	}
	at := copy(b.Append(min(len(frame), first, b.Tailroom())), frame)
	for last := b; at < len(frame); last = last.Next {
		s := c.AllocSegment()
		if s == nil {
			t.Fatal("no buffer")
		}
		at += copy(s.Append(min(len(frame)-at, s.Tailroom())), frame[at:])
		b.Link(last, s)
	}
	return b
}

// TestNetHeaderRoundTrip: what one guest's frame asks for, written for another guest
// and read again, is the same.
func TestNetHeaderRoundTrip(t *testing.T) {
	c := buftest.NewCache(t, 128)
	rapid.Check(t, func(rt *rapid.T) {
		frame := offloadtest.TCP(rt, rapid.SampledFrom([]int{0, 1000, 60000}).Draw(rt, "most"))
		if rapid.Bool().Draw(rt, "udp") {
			frame = hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: hdr.ProtoUDP, Extensions: []byte{60}, Payload: frame[:min(1200, len(frame))]}.Bytes()
		}
		l := offloadtest.Locate(frame)
		payload, size := len(frame)-l.Payload, 0
		if l.Proto == hdr.ProtoTCP && payload > 50 && (payload > 1400 || rapid.Bool().Draw(rt, "segments")) {
			size = rapid.IntRange(max(48, payload/virtq.MaxSegments+1), payload-1).Draw(rt, "size")
		}
		want := offloadtest.Ask(c, frame, size, 2048)
		defer c.Free(want)
		var h virtq.NetHeader
		if !h.Encode(want, allNet, 3) || h[10] != 3 || h[11] != 0 {
			rt.Fatalf("refused: %x", h)
		}
		if hdrLen := binary.LittleEndian.Uint16(h[2:]); int(hdrLen) != l.Payload {
			rt.Fatalf("hdr_len %d, want %d", hdrLen, l.Payload)
		}
		if cwr := size != 0 && frame[l.L4+13]&0x80 != 0; cwr != (h[1]&0x80 != 0) {
			rt.Fatalf("gso_type %x, CWR %v", h[1], cwr)
		}
		binary.LittleEndian.PutUint16(h[2:], rapid.Uint16().Draw(rt, "hdr_len")) // not to be believed
		h[0] |= rapid.SampledFrom([]byte{0, 2, 4, 0xf8}).Draw(rt, "flags")
		got := inBuffers(t, c, buftest.Frame(want), 2048)
		defer c.Free(got)
		if v := h.Decode(got, allNet); v != virtq.HeaderOK {
			rt.Fatalf("verdict %d", v)
		}
		if got.OlFlags != want.OlFlags || got.Lengths() != want.Lengths() || !bytes.Equal(buftest.Frame(got), buftest.Frame(want)) {
			rt.Fatalf("flags %x lengths %+v, want %x %+v", got.OlFlags, got.Lengths(), want.OlFlags, want.Lengths())
		}
	})
}

// TestOffloads: a header can be written for just the frames that Offloads covers.
func TestOffloads(t *testing.T) {
	c := buftest.NewCache(t, 128)
	rapid.Check(t, func(rt *rapid.T) {
		features := rapid.Uint64().Draw(rt, "features") & allNet
		frame := offloadtest.TCP(rt, 5000)
		l := offloadtest.Locate(frame)
		size := rapid.SampledFrom([]int{0, 1000}).Draw(rt, "size")
		b := offloadtest.Ask(c, frame, size, 2048)
		defer c.Free(b)
		need := port.OffloadCsum
		if size != 0 {
			need |= port.OffloadTSO4
			if l.V6 {
				need ^= port.OffloadTSO4 | port.OffloadTSO6
			}
			if frame[l.L4+13]&0x80 != 0 {
				need |= port.OffloadECN
			}
		}
		var h virtq.NetHeader
		if ok, want := h.Encode(b, features, 1), virtq.Offloads(features)&need == need; ok != want {
			rt.Fatalf("Encode %v, Offloads covers %v: features %x", ok, want, features)
		} else if !ok && h != (virtq.NetHeader{10: 1}) {
			rt.Fatalf("refused with header %x", h)
		}
	})
}

// TestDataValid: a checksum that was checked is told to who can be told.
func TestDataValid(t *testing.T) {
	c := buftest.NewCache(t, 128)
	b := inBuffers(t, c, make([]byte, 60), 60)
	defer c.Free(b)
	for _, tt := range []struct {
		flags, features uint64
		want            virtq.NetHeader
	}{
		{0, allNet, virtq.NetHeader{10: 1}},
		{buf.RxL4Good, allNet, virtq.NetHeader{0: 2, 10: 1}},
		{buf.RxL4Good, allNet &^ virtq.NetGuestCsum, virtq.NetHeader{10: 1}},
		{buf.RxL4Bad, allNet, virtq.NetHeader{10: 1}},
	} {
		b.OlFlags = tt.flags
		var h virtq.NetHeader
		if !h.Encode(b, tt.features, 1) || h != tt.want {
			t.Errorf("flags %x: %x, want %x", tt.flags, h, tt.want)
		}
	}
	b.OlFlags = buf.TxTCPCksum | buf.TxIPv4 | buf.TxTunnelGeneve
	b.SetLengths(buf.Lengths{L2: 14, L3: 20, L4: 20})
	var h virtq.NetHeader
	if h.Encode(b, allNet, 1) {
		t.Error("a guest cannot take what is inside a tunnel")
	}
	b.OlFlags = buf.TxTCPCksum | buf.TxIPv4
	b.SetLengths(buf.Lengths{L2: 14, L3: 40, L4: 20})
	if h.Encode(b, allNet, 1) {
		t.Error("headers beyond the frame")
	}
}

// serialize builds a frame with gopacket, checksums right.
func serialize(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	s := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(s, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(s.Bytes())
}

// leave puts the pseudo header's sum into the checksum at sumAt of the TCP packet at l4.
func leave(frame []byte, ip, l4, sumAt int) []byte {
	f := bytes.Clone(frame)
	pseudo := hdr.Pseudo(f[ip+12:ip+16], f[ip+16:ip+20], hdr.ProtoTCP, len(f)-l4)
	binary.BigEndian.PutUint16(f[l4+sumAt:], ^hdr.Finish(pseudo))
	return f
}

// Checksums that buf's flags cannot say are completed at once, and are what gopacket
// computes: in a tunnel of the guest's, behind two VLAN tags, with padding behind.
func TestNetHeaderCompletes(t *testing.T) {
	c := buftest.NewCache(t, 128)
	mac := func(n byte) []byte { return []byte{2, 0, 0, 0, 0, n} }
	ip4 := func(n byte, p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: []byte{10, 0, 0, n}, DstIP: []byte{10, 0, 0, 9}}
	}
	tcp := func(ip *layers.IPv4) *layers.TCP {
		l := &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true}
		_ = l.SetNetworkLayerForChecksum(ip)
		return l
	}
	eth := func(typ layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: mac(1), DstMAC: mac(2), EthernetType: typ}
	}
	outer, inner := ip4(1, layers.IPProtocolUDP), ip4(2, layers.IPProtocolTCP)
	udp := &layers.UDP{SrcPort: 5, DstPort: 4789}
	_ = udp.SetNetworkLayerForChecksum(outer)
	data := gopacket.Payload(bytes.Repeat([]byte{1, 2, 3}, 101))
	vxlan := serialize(t, eth(layers.EthernetTypeIPv4), outer, udp, &layers.VXLAN{VNI: 5}, eth(layers.EthernetTypeIPv4), inner, tcp(inner), data)
	qinq := serialize(t, eth(layers.EthernetTypeQinQ), &layers.Dot1Q{VLANIdentifier: 1, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 2, Type: layers.EthernetTypeIPv4}, inner, tcp(inner), data)
	small := serialize(t, eth(layers.EthernetTypeIPv4), inner, tcp(inner))[:54] // gopacket pads it
	for name, tt := range map[string]struct {
		want               []byte
		ip, l4, sumAt, pad int
	}{
		"vxlan": {want: vxlan, ip: 64, l4: 84, sumAt: 16},
		"qinq":  {want: qinq, ip: 22, l4: 42, sumAt: 16},
		"pad":   {want: small, ip: 14, l4: 34, sumAt: 16, pad: 6},
	} {
		f := append(leave(tt.want, tt.ip, tt.l4, tt.sumAt), make([]byte, tt.pad)...)
		b := inBuffers(t, c, f, 2048)
		v := netHeader(1, 0, 0, 0, tt.l4, tt.sumAt).Decode(b, allNet)
		if v != virtq.HeaderOK || b.OlFlags != 0 || !bytes.Equal(b.Data()[:len(tt.want)], tt.want) {
			t.Errorf("%s: verdict %d, flags %x,\n%x, want\n%x", name, v, b.OlFlags, b.Data(), tt.want)
		}
		c.Free(b)
	}
}

// headers is the packet that the headers of TestHostile19_20 come with; its own end at 54.
func headers() hdrtest.Packet {
	return hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 1000)}
}

func headers6() hdrtest.Packet {
	p := headers()
	p.Src, p.Dst = hdrtest.IP6(1), hdrtest.IP6(2)
	return p
}

var plain = headers().Bytes()

// edit is plain with other bytes from at on.
func edit(at int, to ...byte) []byte {
	f := bytes.Clone(plain)
	copy(f[at:], to)
	return f
}

// changed is the packet of headers after f.
func changed(f func(*hdrtest.Packet)) []byte {
	p := headers()
	f(&p)
	return p.Bytes()
}

const tso4, tso6, ecn = 1, 4, 0x80

// headerCase is a header, a frame behind it, and what becomes of it.
type headerCase struct {
	h        *virtq.NetHeader
	frame    []byte
	features uint64
	want     virtq.HeaderVerdict
	flags    uint64
}

// checksumCases are headers that ask for a checksum at the most.
var checksumCases = map[string]headerCase{
	"nothing asked":            {netHeader(0, 0, 9999, 9999, 9999, 9999), plain, 0, virtq.HeaderOK, 0},
	"a device's flags":         {netHeader(2|4, 0, 0, 0, 9999, 9999), plain, 0, virtq.HeaderOK, 0},
	"unknown flags":            {netHeader(0xf8, 0, 0, 0, 0, 0), plain, 0, virtq.HeaderOK, 0},
	"checksum, not negotiated": {netHeader(1, 0, 0, 0, 34, 16), plain, allNet &^ virtq.NetCsum, virtq.HeaderBad, 0},
	"csum_start in Ethernet":   {netHeader(1, 0, 0, 0, 13, 16), plain, allNet, virtq.HeaderBad, 0},
	"csum_start beyond":        {netHeader(1, 0, 0, 0, len(plain)+1, 16), plain, allNet, virtq.HeaderBad, 0},
	"csum_start at the end":    {netHeader(1, 0, 0, 0, len(plain), 0), plain, allNet, virtq.HeaderBad, 0},
	"csum_offset one beyond":   {netHeader(1, 0, 0, 0, 34, len(plain)-34-1), plain, allNet, virtq.HeaderBad, 0},
	"both at their most":       {netHeader(1, 0, 0, 0, 65535, 65535), plain, allNet, virtq.HeaderBad, 0},
	"plain":                    {netHeader(1, 0, 0, 0, 34, 16), plain, allNet, virtq.HeaderOK, buf.TxTCPCksum | buf.TxIPv4},
	"fragment":                 {netHeader(1, 0, 0, 0, 34, 16), changed(func(q *hdrtest.Packet) { q.MoreFragments = true }), allNet, virtq.HeaderOK, 0},
}

// segmentCases are headers that ask for segments, as negotiated and otherwise.
var segmentCases = map[string]headerCase{
	"segments":                   {netHeader(1, tso4, 0, 500, 34, 16), plain, allNet, virtq.HeaderOK, buf.TxTCPSeg | buf.TxTCPCksum | buf.TxIPv4},
	"segments, hdr_len nonsense": {netHeader(1, tso4, 60000, 500, 34, 16), plain, allNet, virtq.HeaderOK, buf.TxTCPSeg | buf.TxTCPCksum | buf.TxIPv4},
	"segments v6":                {netHeader(1, tso6, 0, 500, 54, 16), headers6().Bytes(), allNet, virtq.HeaderOK, buf.TxTCPSeg | buf.TxTCPCksum | buf.TxIPv6},
	"one segment":                {netHeader(1, tso4, 0, 1000, 34, 16), plain, allNet, virtq.HeaderOK, buf.TxTCPCksum | buf.TxIPv4},
	"no checksum asked":          {netHeader(0, tso4, 0, 500, 34, 16), plain, allNet, virtq.HeaderBad, 0},
	"no TSO4":                    {netHeader(1, tso4, 0, 500, 34, 16), plain, allNet &^ virtq.NetHostTSO4, virtq.HeaderBad, 0},
	"no TSO6":                    {netHeader(1, tso6, 0, 500, 54, 16), headers6().Bytes(), allNet &^ virtq.NetHostTSO6, virtq.HeaderBad, 0},
	"v6 as v4":                   {netHeader(1, tso4, 0, 500, 54, 16), headers6().Bytes(), allNet, virtq.HeaderBad, 0},
	"v4 as v6":                   {netHeader(1, tso6, 0, 500, 34, 16), plain, allNet, virtq.HeaderBad, 0},
	"no ECN":                     {netHeader(1, tso4|ecn, 0, 500, 34, 16), plain, allNet &^ virtq.NetHostECN, virtq.HeaderBad, 0},
	"ECN":                        {netHeader(1, tso4|ecn, 0, 500, 34, 16), plain, allNet, virtq.HeaderOK, buf.TxTCPSeg | buf.TxTCPCksum | buf.TxIPv4},
	"ECN alone":                  {netHeader(1, ecn, 0, 500, 34, 16), plain, allNet, virtq.HeaderBad, 0},
	"UFO":                        {netHeader(1, 3, 0, 500, 34, 16), plain, allNet, virtq.HeaderBad, 0},
	"USO":                        {netHeader(1, 5, 0, 500, 34, 6), changed(func(q *hdrtest.Packet) { q.Proto = hdr.ProtoUDP }), allNet, virtq.HeaderBad, 0},
	"unknown gso_type":           {netHeader(1, 0x55, 0, 500, 34, 16), plain, ^uint64(0), virtq.HeaderBad, 0},
}

// misfitCases are headers that ask for segments of what is none, or not whole.
var misfitCases = map[string]headerCase{
	"gso_size 0":             {netHeader(1, tso4, 0, 0, 34, 16), plain, allNet, virtq.HeaderBad, 0},
	"other csum_start":       {netHeader(1, tso4, 0, 500, 33, 16), plain, allNet, virtq.HeaderBad, 0},
	"other csum_offset":      {netHeader(1, tso4, 0, 500, 34, 6), plain, allNet, virtq.HeaderBad, 0},
	"segments of UDP":        {netHeader(1, tso4, 0, 500, 34, 16), changed(func(q *hdrtest.Packet) { q.Proto = hdr.ProtoUDP }), allNet, virtq.HeaderBad, 0},
	"segments of ARP":        {netHeader(1, tso4, 0, 500, 14, 16), hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), ARP: 1, Padding: 100}.Bytes(), allNet, virtq.HeaderBad, 0},
	"segments of a fragment": {netHeader(1, tso4, 0, 500, 34, 16), changed(func(q *hdrtest.Packet) { q.MoreFragments = true }), allNet, virtq.HeaderBad, 0},
	"TCP header too short":   {netHeader(1, tso4, 0, 500, 34, 16), edit(46, 0x40), allNet, virtq.HeaderBad, 0},
	"no payload":             {netHeader(1, tso4, 0, 1, 34, 16), changed(func(q *hdrtest.Packet) { q.Payload = nil })[:54], allNet, virtq.HeaderOK, buf.TxTCPCksum | buf.TxIPv4},
	"TCP header cut":         {netHeader(1, tso4, 0, 1, 34, 16), edit(46, 0xf0)[:60], allNet, virtq.HeaderBad, 0},
	"IPv4 header too short":  {netHeader(1, tso4, 0, 500, 34, 16), edit(14, 0x44), allNet, virtq.HeaderBad, 0},
	"IPv4 header beyond":     {netHeader(1, tso4, 0, 500, 34, 16), edit(14, 0x4f)[:60], allNet, virtq.HeaderBad, 0},
	"padded segments":        {netHeader(1, tso4, 0, 500, 34, 16), append(bytes.Clone(plain), 0), allNet, virtq.HeaderBad, 0},
	"cut segments":           {netHeader(1, tso4, 0, 500, 34, 16), plain[:len(plain)-1], allNet, virtq.HeaderBad, 0},
}

// TestHostile19_20_NetHeader: what a header must not say is refused, what does not
// matter is passed over.
func TestHostile19_20_NetHeader(t *testing.T) {
	c := buftest.NewCache(t, 128)
	for _, cases := range []map[string]headerCase{checksumCases, segmentCases, misfitCases} {
		for name, tt := range cases {
			b := inBuffers(t, c, tt.frame, 2048)
			if v := tt.h.Decode(b, tt.features); v != tt.want || v == virtq.HeaderOK && b.OlFlags != tt.flags {
				t.Errorf("%s: verdict %d flags %x, want %d %x", name, v, b.OlFlags, tt.want, tt.flags)
			}
			c.Free(b)
		}
	}
}

// A frame of many buffers is a super-segment or dropped; a super-segment is no longer
// than an IP packet, and of a bounded number of segments.
func TestNetHeaderSizes(t *testing.T) {
	c := buftest.NewCache(t, 128)
	frame := func(payload int) []byte {
		f := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP}.Bytes()
		f = append(f, make([]byte, payload)...)
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
		return f
	}
	for name, tt := range map[string]struct {
		h       *virtq.NetHeader
		payload int
		want    virtq.HeaderVerdict
	}{
		"plain":                {netHeader(0, 0, 0, 0, 0, 0), 3000, virtq.HeaderTooBig},
		"checksum":             {netHeader(1, 0, 0, 0, 34, 16), 3000, virtq.HeaderTooBig},
		"one segment":          {netHeader(1, 1, 0, 3000, 34, 16), 3000, virtq.HeaderTooBig},
		"two segments":         {netHeader(1, 1, 0, 2999, 34, 16), 3000, virtq.HeaderOK},
		"longest":              {netHeader(1, 1, 0, 1448, 34, 16), 65535 - 40, virtq.HeaderOK},
		"longer":               {netHeader(1, 1, 0, 1448, 34, 16), 65536 - 40, virtq.HeaderTooBig},
		"smallest segments":    {netHeader(1, 1, 0, 512, 34, 16), 65535 - 40, virtq.HeaderOK},
		"smaller segments":     {netHeader(1, 1, 0, 511, 34, 16), 65535 - 40, virtq.HeaderBad},
		"segments of one byte": {netHeader(1, 1, 0, 1, 34, 16), 65535 - 40, virtq.HeaderBad},
		"few of one byte":      {netHeader(1, 1, 0, 1, 34, 16), virtq.MaxSegments, virtq.HeaderOK},
	} {
		b := inBuffers(t, c, frame(tt.payload), 2048)
		if v := tt.h.Decode(b, allNet); v != tt.want {
			t.Errorf("%s: %d, want %d", name, v, tt.want)
		}
		c.Free(b)
	}
	// Headers that do not lie in the first buffer are not looked for.
	b := inBuffers(t, c, frame(3000), 60)
	b.Data()[46] = 0xf0
	if v := netHeader(1, 1, 0, 1000, 34, 16).Decode(b, allNet); v != virtq.HeaderBad {
		t.Errorf("split headers: %d", v)
	}
	c.Free(b)
}

// An IPv4 super-segment without a total length gets one, and what depends on it.
func TestNetHeaderNoLength(t *testing.T) {
	c := buftest.NewCache(t, 128)
	want := offloadtest.Ask(c, hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 9000)}.Bytes(), 1000, 2048)
	defer c.Free(want)
	f := buftest.Frame(want)
	f[16], f[17], f[24], f[25], f[50], f[51] = 0, 0, 0, 0, 0x12, 0x34
	b := inBuffers(t, c, f, 2048)
	defer c.Free(b)
	if v := netHeader(1, 1, 0, 1000, 34, 16).Decode(b, allNet); v != virtq.HeaderOK || !bytes.Equal(buftest.Frame(b), buftest.Frame(want)) {
		t.Errorf("verdict %d, headers %x, want %x", v, b.Data()[:54], want.Data()[:54])
	}
}

func TestNetHeaderAllocatesNothing(t *testing.T) {
	c := buftest.NewCache(t, 128)
	frame := hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: hdr.ProtoTCP, Payload: make([]byte, 9000)}.Bytes()
	b := inBuffers(t, c, frame, 2048)
	defer c.Free(b)
	h := netHeader(1, 1, 0, 1000, 34, 16)
	if n := testing.AllocsPerRun(100, func() {
		b.OlFlags = 0
		if h.Decode(b, allNet) != virtq.HeaderOK || !h.Encode(b, allNet, 1) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
