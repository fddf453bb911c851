package pmtu_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
	"baton/dataplane/hdr"
	"baton/dataplane/hdr/hdrtest"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/pmtu"
)

// TestAnswer: what others read in the message is what its sender has to know: from
// the packet's destination, the MTU, and the packet's head as it was sent, within the
// size that RFC 1812 and RFC 4443 allow.
func TestAnswer(t *testing.T) {
	c := buftest.NewCache(t, 64)
	rapid.Check(t, func(rt *rapid.T) {
		frame := offloadtest.TCP(rt, 9000)
		l := offloadtest.Locate(frame)
		mtu := rapid.IntRange(68, 1700).Draw(rt, "mtu")
		segment := 0
		if len(frame) > 1800 {
			segment = 1500
		}
		b := offloadtest.Ask(c, frame, segment, rapid.IntRange(200, 2048).Draw(rt, "room"))
		defer c.Free(b)
		sent := buftest.Frame(b)
		if got := pmtu.Answers(b, mtu); got != (len(frame)-l.L3 > mtu) {
			rt.Fatalf("a packet of %d bytes for an MTU of %d: answered %v", len(frame)-l.L3, mtu, got)
		}
		a := c.Alloc()
		defer c.Free(a)
		pmtu.Answer(a, b, mtu)
		p := gopacket.NewPacket(a.Data(), layers.LayerTypeEthernet, gopacket.Default)
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if !bytes.Equal(eth.DstMAC, frame[6:12]) || !bytes.Equal(eth.SrcMAC, frame[:6]) || !bytes.Equal(a.Data()[12:l.L3], frame[12:l.L3]) {
			rt.Fatalf("Ethernet %v to %v", eth.SrcMAC, eth.DstMAC)
		}
		var quoted []byte
		if l.V6 {
			quoted = check6(rt, p, frame[l.L3:], mtu)
		} else {
			quoted = check4(rt, p, frame[l.L3:], mtu)
		}
		if !bytes.HasPrefix(sent[l.L3:], quoted) {
			rt.Fatalf("quoted %x of %x", quoted, sent[l.L3:])
		}
	})
}

// check4 checks an ICMP message about ip and returns what it quotes.
func check4(t *rapid.T, p gopacket.Packet, ip []byte, mtu int) []byte {
	v4, icmp := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4), p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !v4.SrcIP.Equal(net.IP(ip[16:20])) || !v4.DstIP.Equal(net.IP(ip[12:16])) || int(v4.Length) != min(576, len(ip)+28) {
		t.Fatalf("%+v", v4)
	}
	if !hdr.IPv4(v4.Contents).ChecksumOK() || hdr.Checksum(v4.Payload) != 0 {
		t.Fatal("checksum")
	}
	if icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || icmp.Id != 0 || int(icmp.Seq) != mtu {
		t.Fatalf("%+v", icmp)
	}
	return icmp.Payload
}

// check6 is check4 for ICMPv6.
func check6(t *rapid.T, p gopacket.Packet, ip []byte, mtu int) []byte {
	v6, icmp := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !v6.SrcIP.Equal(net.IP(ip[24:40])) || !v6.DstIP.Equal(net.IP(ip[8:24])) || int(v6.Length) != min(1240, len(ip)+8) {
		t.Fatalf("%+v", v6)
	}
	if hdr.Finish(hdr.Sum(v6.Payload, hdr.Pseudo(v6.SrcIP, v6.DstIP, 58, len(v6.Payload)))) != 0 {
		t.Fatal("checksum")
	}
	if icmp.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || !bytes.Equal(icmp.Payload[:4], []byte{0, 0, byte(mtu >> 8), byte(mtu)}) {
		t.Fatalf("%+v", icmp)
	}
	return icmp.Payload[4:]
}

// TestWhoIsAnswered goes through the cases of RFC 1122 3.2.2 and RFC 4443 2.4 e.
func TestWhoIsAnswered(t *testing.T) {
	c := buftest.NewCache(t, 4)
	a4, b4, a6, b6 := hdrtest.IP4(1), hdrtest.IP4(2), hdrtest.IP6(1), hdrtest.IP6(2)
	addr := netip.MustParseAddr
	body := make([]byte, 1400)
	for name, tt := range map[string]struct {
		p    hdrtest.Packet
		want bool
	}{
		"UDP":                         {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17}, true},
		"UDP over IPv6, tagged":       {hdrtest.Packet{Src: a6, Dst: b6, Proto: 17, VLAN: 5}, true},
		"any protocol":                {hdrtest.Packet{Src: a4, Dst: b4, Proto: 132}, true},
		"first fragment":              {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17, MoreFragments: true}, true},
		"later fragment":              {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17, FragOffset: 8}, false},
		"later fragment, IPv6":        {hdrtest.Packet{Src: a6, Dst: b6, Proto: 17, FragOffset: 8}, false},
		"echo request":                {hdrtest.Packet{Src: a4, Dst: b4, Proto: 1, SrcPort: 8}, true},
		"echo reply":                  {hdrtest.Packet{Src: a4, Dst: b4, Proto: 1, SrcPort: 0}, true},
		"unreachable":                 {hdrtest.Packet{Src: a4, Dst: b4, Proto: 1, SrcPort: 3}, false},
		"redirect":                    {hdrtest.Packet{Src: a4, Dst: b4, Proto: 1, SrcPort: 5}, false},
		"time exceeded":               {hdrtest.Packet{Src: a4, Dst: b4, Proto: 1, SrcPort: 11}, false},
		"echo request, IPv6":          {hdrtest.Packet{Src: a6, Dst: b6, Proto: 58, SrcPort: 128}, true},
		"packet too big, IPv6":        {hdrtest.Packet{Src: a6, Dst: b6, Proto: 58, SrcPort: 2}, false},
		"redirect, IPv6":              {hdrtest.Packet{Src: a6, Dst: b6, Proto: 58, SrcPort: 137}, false},
		"to a group":                  {hdrtest.Packet{Src: a4, Dst: addr("224.0.0.5"), Proto: 17}, false},
		"to all":                      {hdrtest.Packet{Src: a4, Dst: addr("255.255.255.255"), Proto: 17}, false},
		"from nobody":                 {hdrtest.Packet{Src: addr("0.0.0.0"), Dst: b4, Proto: 17}, false},
		"from loopback":               {hdrtest.Packet{Src: addr("127.0.0.1"), Dst: b4, Proto: 17}, false},
		"to a group, IPv6":            {hdrtest.Packet{Src: a6, Dst: addr("ff02::1"), Proto: 17}, false},
		"from nobody, IPv6":           {hdrtest.Packet{Src: addr("::"), Dst: b6, Proto: 17}, false},
		"to all, by Ethernet":         {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17, EthDst: [6]byte{255, 255, 255, 255, 255, 255}}, false},
		"from a group, by Ethernet":   {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17, EthSrc: [6]byte{1}}, false},
		"ARP":                         {hdrtest.Packet{Src: a4, Dst: b4, ARP: 1, Padding: 1400}, false},
		"small, with padding behind":  {hdrtest.Packet{Src: a4, Dst: b4, Proto: 17, Padding: 1400, Payload: make([]byte, 8)}, false},
		"other Ethernet than the two": {hdrtest.Packet{}, false},
	} {
		if tt.p.Payload == nil {
			tt.p.Payload = body
		}
		f := make([]byte, 1400)
		if tt.p.Src.IsValid() {
			f = tt.p.Bytes()
		}
		b := c.Alloc()
		b.SetFrame(f)
		if got := pmtu.Answers(b, 1300); got != tt.want {
			t.Errorf("%s: answered %v", name, got)
		}
		c.Free(b)
	}
}

// FuzzAnswer: no frame makes it read or write beyond.
func FuzzAnswer(f *testing.F) {
	f.Add(hdrtest.Packet{Src: hdrtest.IP4(1), Dst: hdrtest.IP4(2), Proto: 17, Payload: make([]byte, 1000)}.Bytes(), uint16(576))
	f.Add(hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: 6, VLAN: 7, Extensions: []byte{0}, Payload: make([]byte, 1500)}.Bytes(), uint16(1280))
	p, err := buf.NewPool(4, buf.DefaultDataRoom)
	if err != nil {
		f.Fatal(err)
	}
	c := buf.NewCache(p)
	f.Fuzz(func(t *testing.T, data []byte, mtu uint16) {
		b, a := c.Alloc(), c.Alloc()
		defer c.Free(a)
		defer c.Free(b)
		if !b.SetFrame(data) || !pmtu.Answers(b, int(mtu)) {
			return
		}
		pmtu.Answer(a, b, int(mtu))
		if a.Len() > 18+1280 || a.Len() <= 42 {
			t.Fatalf("a message of %d bytes", a.Len())
		}
	})
}

func TestAllocatesNothing(t *testing.T) {
	c := buftest.NewCache(t, 4)
	b, a := c.Alloc(), c.Alloc()
	b.SetFrame(hdrtest.Packet{Src: hdrtest.IP6(1), Dst: hdrtest.IP6(2), Proto: 17, Payload: make([]byte, 1400)}.Bytes())
	if n := testing.AllocsPerRun(100, func() {
		a.Reset()
		if pmtu.Answers(b, 1300) {
			pmtu.Answer(a, b, 1300)
		}
	}); n != 0 || a.Len() == 0 {
		t.Errorf("%v allocations for %d bytes", n, a.Len())
	}
	c.Free(a)
	c.Free(b)
}
