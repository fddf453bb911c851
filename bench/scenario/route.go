package scenario

import (
	"bytes"
	"context"
	"fmt"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/topology"
	"baton/dataplane/hdr"
)

// route is what a VM sends to one of another subnet, on another host: through the router.
type route struct{}

func (route) Name() string { return "route" }

func (route) About() string {
	return "VM -> router (TTL, MAC addresses) -> Geneve -> NIC that takes all"
}

// plan has rules of OVS that do what baton's do: to the router's MAC address, by the
// longest prefix to the next hop's MAC address, one hop less to live.
func (route) plan() Plan {
	from, to, in, out := topology.VM1, topology.Far2, topology.BlueGateway, topology.GreenGateway
	rule := fmt.Sprintf("in_port=%s,dl_dst=%s,ip,nw_dst=%s,actions=dec_ttl,set_field:%s->eth_src,set_field:%s->eth_dst,%s",
		from.Name, in.MAC, to.IP, out.MAC, to.MAC, ovsTunnel(to.VNI, out.ID, to.ID))
	return Plan{VMs: []topology.VM{from}, NIC: sinkNIC, Staged: true, Flows: []string{rule}}
}

func (s route) Run(ctx context.Context, b *Bench) error {
	from, to := topology.VM1, topology.Far2
	if err := s.verify(ctx, b); err != nil {
		return err
	}
	for _, flows := range b.flowsOr(1, 1000, 100_000) {
		for _, size := range b.sizes() {
			p := s.plan()
			st := stream(from, to, flows, size)
			st.Frame.DstMAC = gen.MAC(topology.BlueGateway.MAC)
			p.Load.Streams, p.Numbered = []gen.Stream{st}, true
			if err := b.Compare(ctx, report.Case{Scenario: s.Name(), Flows: flows, Size: size}, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// verify sends frames to the router and undoes with what arrives what a router does.
func (s route) verify(ctx context.Context, b *Bench) error {
	from, to, in, out := topology.VM1, topology.Far2, topology.BlueGateway, topology.GreenGateway
	toGateway := to
	toGateway.MAC = in.MAC
	sent, err := numbered(from, toGateway, 64, 512, 1500)
	if err != nil {
		return err
	}
	open := tunnelFrame(to.VNI, out.ID, to.ID)
	return b.Verify(ctx, s.Name(), s.plan(), Pass{From: from.Name, To: nic, Sent: sent, Open: func(f []byte) ([]byte, error) {
		inner, err := open(f)
		if err != nil {
			return nil, err
		}
		eth, ip := hdr.Ethernet(inner), hdr.IPv4(inner[hdr.EthernetSize:])
		if !bytes.Equal(eth[:6], to.MAC[:]) || !bytes.Equal(eth[6:12], out.MAC[:]) || ip.TTL() != 63 || !ip.ChecksumOK() {
			return nil, fmt.Errorf("not routed: MAC addresses %x to %x, TTL %d, checksum right: %v", eth[6:12], eth[:6], ip.TTL(), ip.ChecksumOK())
		}
		was := bytes.Clone(inner)
		copy(was, in.MAC[:])
		copy(was[6:], from.MAC[:])
		ip = hdr.IPv4(was[hdr.EthernetSize:])
		ip[8] = 64
		ip.SetChecksum()
		return was, nil
	}})
}
