package topology_test

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"

	"baton/bench/topology"
	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/buf"
	"baton/dataplane/cache"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
)

// The network of the benchmark: two switches of portsEach ports, joined by a router; of
// each, hereEach are on this host, the others on one other host.
const (
	portsEach = 4096
	hereEach  = 64
)

// bigPort is port number n of a switch.
func bigPort(sw string, second byte, n int) *model.Port {
	id, host := uint16(n+10), topology.Far
	if n < hereEach {
		host = topology.Host
	}
	return &model.Port{
		Name: sw + netip.AddrFrom4(bigIP(second, n)).String(), Switch: sw, Host: host, ID: id,
		IP:  model.Address{Addr: netip.AddrFrom4(bigIP(second, n))},
		MAC: bigMAC(second, n),
	}
}

func bigIP(second byte, n int) [4]byte { return [4]byte{10, second, byte(1 + n>>8), byte(n)} }

func bigMAC(second byte, n int) flow.MAC { return flow.MAC{2, 0x10, 0, second, byte(n >> 8), byte(n)} }

// bigNetwork is a pipeline with the rules that the compiler makes of the network.
func bigNetwork(b *testing.B) *pipeline.Pipeline {
	s, err := topology.Network()
	if err != nil {
		b.Fatal(err)
	}
	for n := range portsEach {
		s.Set(bigPort("blue", 0, n))
		s.Set(bigPort("green", 2, n))
	}
	p := pipeline.New()
	c := compile.Host(s, topology.Host)
	if _, err := p.Apply(flow.Change{SetRules: c.Rules, SetBindings: c.Bindings, SetNeighbours: c.Neighbours}); err != nil {
		b.Fatal(err)
	}
	return p
}

// bigFlow is a flow by its ends: ports here on the switch blue, and any port.
type bigFlow struct{ from, to uint16 }

// bigFlows are the flows from all ports here on blue to all of a switch, shuffled.
func bigFlows() (flows []bigFlow) {
	for from := range uint16(hereEach) {
		for to := range uint16(portsEach) {
			flows = append(flows, bigFlow{from, to})
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
	return flows
}

// key is the key of the flow's packets, within the switch or to the other one.
func (f bigFlow) key(k *flow.Key, routed bool) {
	k.InPort = flow.LogicalPort(topology.Blue, f.from+10)
	k.EthSrc, k.EthDst = bigMAC(0, int(f.from)), bigMAC(0, int(f.to))
	k.EthType, k.Proto, k.L4Src, k.L4Dst = flow.EtherTypeIPv4, flow.ProtoUDP, f.from, f.to
	second := byte(0)
	if routed {
		second, k.EthDst = 2, topology.BlueGateway.MAC
	}
	src, dst := bigIP(0, int(f.from)), bigIP(second, int(f.to))
	copy(k.IPSrc[:], src[:])
	copy(k.IPDst[:], dst[:])
}

// BenchmarkNewFlows is what first packets of flows cost, each in want of an entry of its
// own, through the caches and the rules of a network: within a switch (8 tables), and
// through a router (36). The cache is of its default size, smaller than the flows are many, so that
// each entry takes another's place.
func BenchmarkNewFlows(b *testing.B) {
	p := bigNetwork(b)
	for _, routed := range []bool{false, true} {
		b.Run(map[bool]string{false: "switch", true: "router"}[routed], func(b *testing.B) { newFlows(b, p, routed) })
	}
}

func newFlows(b *testing.B, p *pipeline.Pipeline, routed bool) {
	c, err := cache.New(cache.Config{Seed: 1}, p.Counters())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, burst, flows := p.Snapshot(), new(cache.Burst), bigFlows()
	burst.Num = buf.Burst
	at, num, missed := 0, 0, 0
	turn := func() {
		for i := range burst.Keys {
			flows[at%len(flows)].key(&burst.Keys[i], routed)
			at++
		}
		c.Hash(burst)
		for miss := c.LookupBurst(burst, s.Generation()); miss != 0; miss &= miss - 1 {
			c.Miss(s, burst, bits.TrailingZeros32(miss))
			missed++
		}
		for i := range burst.Num {
			burst.Entries[i].Hit(1, 60)
		}
		num += burst.Num
	}
	for range c.Size() * 2 / buf.Burst { // until it is full
		turn()
	}
	num, missed = 0, 0
	for b.Loop() {
		turn()
	}
	if missed*100 < num*99 {
		b.Fatalf("only %d of %d packets were a flow's first", missed, num)
	}
	b.ReportMetric(float64(missed)/b.Elapsed().Seconds()/1e6, "Mflows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(missed), "ns/flow")
}
