package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"baton/test/cluster"
	"baton/test/lab"
)

// outerSize is all that goes before a frame on the underlay: Ethernet 14, IPv4
// 20, UDP 8, Geneve 8, option 12 bytes.
const outerSize = 62

// maxFrame is the longest frame that an underlay of 1600 bytes carries: without
// its own outer Ethernet header's 14 bytes, the tunnel takes 48.
const maxFrame = 1600 - (outerSize - 14)

// captureUnderlay records what the bridge carries; tail is tcpdump's filter.
func captureUnderlay(t testing.TB, c *cluster.Cluster, filter string) *lab.Capture {
	t.Helper()
	capture, err := c.Lab.Capture(lab.CaptureConfig{Name: "underlay-capture", Netns: c.Bridge.Netns, Ifname: c.Bridge.Name, Filter: filter})
	must(t, err)
	return capture
}

// TestUnderlayFormat has VMs of two hosts talk in every way there is, and reads
// every header field of the tunnel as two strangers to the code do: tshark and
// a plain pcap reader.
func TestUnderlayFormat(t *testing.T) {
	c, h1, h2 := twoHosts(t)
	capture := captureUnderlay(t, c, "")
	a, b := attachVM(t, c, h1, vm1), attachVM(t, c, h1, vm2)
	x, y := attachVM(t, c, h2, vm3), attachVM(t, c, h2, vm4)

	const flows, perFlow = 64, 3
	var legs = []leg{
		{from: a, to: x, vni: 1001, option: lab.Option{SrcPort: 11, DstPort: 13}},
		{from: x, to: a, vni: 1001, option: lab.Option{SrcPort: 13, DstPort: 11}},
		// A router forwards on the sender's host: the wire sees the destination's
		// switch, entered by the router's port there.
		{from: a, to: y, gateway: gwBlue, out: gwGreen, vni: 1002, option: lab.Option{SrcPort: 2, DstPort: 14}},
		{from: y, to: a, gateway: gwGreen, out: gwBlue, vni: 1001, option: lab.Option{SrcPort: 1, DstPort: 11}},
		{from: x, to: b, gateway: gwBlue, out: gwGreen, vni: 1002, option: lab.Option{SrcPort: 2, DstPort: 12}},
	}
	want := map[string]leg{} // inner frame on the wire -> its leg
	for i := range legs {
		for n, wire := range legs[i].run(t, flows, perFlow) {
			want[n] = wire
		}
	}
	// What stays on a host never reaches the wire.
	a.send(t, frameSpec{Src: vm1, Dst: gwBlue, Proto: layers.IPProtocolICMPv4, SrcPort: 7, DstPort: 1}.Bytes())
	waitFor(t, c, "echo reply of the gateway", func() bool { return len(a.take()) == 1 })
	local := frameSpec{Src: vm1, Dst: vm2, Via: gwBlue.MAC, SrcPort: 5, DstPort: 5}
	a.send(t, local.Bytes())
	b.expect(t, local.Routed(gwGreen).Bytes())

	must(t, capture.Stop())
	checkDissection(t, c, capture.File, want)
	checkHeaders(t, c, capture.File, len(want)*perFlow)
}

// leg is traffic one way between two VMs, and what it must look like.
type leg struct {
	from, to     *simVM
	gateway, out endpoint // of a routed leg: the router's ports
	vni          uint32
	option       lab.Option
}

// run sends each of flows frames several times and waits for them; it returns
// the inner frames as they are on the wire.
func (l leg) run(t *testing.T, flows, perFlow int) map[string]leg {
	t.Helper()
	wire := map[string]leg{}
	var send, want [][]byte
	for i := range flows {
		spec := frameSpec{Src: l.from.endpoint, Dst: l.to.endpoint, Via: l.gateway.MAC, SrcPort: uint16(40000 + i), DstPort: 9, ID: uint16(i), Len: 60 + i*(maxFrame-60)/(flows-1)}
		if i%2 == 1 {
			spec.Proto = layers.IPProtocolTCP
		}
		in, out := spec.Bytes(), spec
		if l.gateway.MAC != nil {
			out = spec.Routed(l.out)
		}
		wire[string(out.Bytes())] = l
		for range perFlow {
			send, want = append(send, in), append(want, out.Bytes())
		}
	}
	l.from.send(t, send...)
	l.to.expect(t, want...)
	return wire
}

// checkDissection holds tshark's reading of each packet against its leg: VNI,
// option class, type and length, the option's four fields, the outer addresses,
// the source ports, the inner frame.
func checkDissection(t *testing.T, c *cluster.Cluster, file string, want map[string]leg) {
	t.Helper()
	packets, err := c.Lab.Dissect(file, "")
	must(t, err)
	frames := readCapture(t, file)
	sourcePort := map[string]int{}
	perLeg := map[string]map[int]bool{}
	for _, p := range packets {
		inner := string(frames[p.Frame-1][outerSize:])
		l, ok := want[inner]
		if !ok {
			t.Fatalf("packet %d of the capture: nobody sent this frame: %s", p.Frame, describe([]byte(inner)))
		}
		if o, ok := p.Baton(); !ok || o != l.option || p.VNI != l.vni || !p.Critical || p.Malformed {
			t.Fatalf("packet %d of %s to %s: VNI %d, options %+v, critical %v, malformed %v; want VNI %d, %+v",
				p.Frame, l.from.Name, l.to.Name, p.VNI, p.Options, p.Critical, p.Malformed, l.vni, l.option)
		}
		src, dst := l.from.host, l.to.host
		if p.IPSrc[0] != underlayIP[src.Name] || p.IPDst[0] != underlayIP[dst.Name] ||
			p.EthSrc[0] != macOf(t, src) || p.EthDst[0] != macOf(t, dst) || p.TTL[0] != 64 {
			t.Fatalf("packet %d: outer addresses %v %v > %v %v, TTL %d", p.Frame, p.EthSrc[0], p.IPSrc[0], p.EthDst[0], p.IPDst[0], p.TTL[0])
		}
		port := p.UDPSrc[0]
		if before, seen := sourcePort[inner]; seen && before != port || port < 49152 || p.UDPDst[0] != 6081 {
			t.Fatalf("packet %d: UDP %d > %d; packets of the same flow had source port %d", p.Frame, port, p.UDPDst[0], before)
		}
		sourcePort[inner] = port
		name := fmt.Sprintf("%s to %s", l.from.Name, l.to.Name)
		if perLeg[name] == nil {
			perLeg[name] = map[int]bool{}
		}
		perLeg[name][port] = true
	}
	if len(sourcePort) != len(want) {
		t.Fatalf("%d different frames on the underlay, want %d", len(sourcePort), len(want))
	}
	// 64 flows over 16384 ports: two or three meet by chance, no more.
	for name, ports := range perLeg {
		if len(ports) < 56 {
			t.Errorf("%s: 64 flows use %d source ports", name, len(ports))
		}
	}
}

// checkHeaders counts with tshark's own filter the packets whose outer headers
// are as they must be: that must be all of them, and nothing else is there.
func checkHeaders(t *testing.T, c *cluster.Cluster, file string, want int) {
	t.Helper()
	for what, filter := range map[string]string{
		"packets":                         "frame",
		"do not fragment":                 "ip.flags.df#1 == 1 && ip.flags.mf#1 == 0 && ip.frag_offset#1 == 0",
		"no UDP checksum":                 "udp.checksum#1 == 0",
		"right lengths":                   "ip.len#1 == frame.len - 14 && udp.length#1 == frame.len - 34",
		"Geneve version 0, no OAM":        "geneve.version == 0 && geneve.flags.oam == 0 && geneve.flags.critical == 1 && geneve.flags.reserved == 0",
		"Ethernet inside":                 "geneve.proto_type == 0x6558",
		"one option of 12 bytes":          "len(geneve.options) == 12 && geneve.option.length == 12 && geneve.option.flags.reserved == 0 && geneve.reserved == 0 && geneve.option.class == 0xffee && geneve.option.type == 0x80 && geneve.option.type.critical == 1",
		"IPv4 of the tunnel without ToS":  "ip.dsfield#1 == 0 && ip.hdr_len#1 == 20",
		"checksums that are there, right": "!(ip.checksum.status == Bad) && !(udp.checksum.status == Bad) && !(tcp.checksum.status == Bad)",
	} {
		n, err := c.Lab.CountPackets(file, filter)
		must(t, err)
		if n != want {
			t.Errorf("%s: %d packets, want %d (%s)", what, n, want, filter)
		}
	}
}

// underlayIP is the tunnel end point of each host of network.
var underlayIP = map[string]string{"host1": "192.168.100.1", "host2": "192.168.100.2"}

// macOf is the MAC of a host's tunnel end point.
func macOf(t testing.TB, h *cluster.Host) string {
	t.Helper()
	mac, err := h.Netns.MAC("eth0")
	must(t, err)
	return mac.String()
}

// readCapture is all frames of a pcap.
func readCapture(t testing.TB, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	r, err := pcapgo.NewReader(bytes.NewReader(data))
	must(t, err)
	var frames [][]byte
	for {
		frame, _, err := r.ReadPacketData()
		if err != nil {
			return frames
		}
		frames = append(frames, frame)
	}
}
