package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/hashicorp/go-hclog"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
	"baton/nic/steer"
)

// underlayPort is the name of the NIC's port in the switch: model.Underlay, which
// no port of the model may have.
const underlayPort = "underlay"

// ealMiB is DPDK's own need besides the buffers: queues, devices, its heap's slack.
const ealMiB = 48

// underlay is what DPDK gives: packet memory, and the NIC.
type underlay struct {
	memory eal.Info
	pool   *mempool.Pool
	nic    *dpdk.Port
	vtep   *overlay.Endpoint
	which  int          // 0: underlay.device, 1: underlay.alternate
	pair   bool         // each of the two has a VTEP of its own
	steer  *steer.Steer // nil: nothing decides which device gets the VTEP's traffic
}

// device is that of a generation: 0 underlay.device, 1 underlay.alternate.
func (s *settings) device(which int) string {
	if which == 1 {
		return s.Underlay.Alternate
	}
	return s.Underlay.Device
}

// openUnderlay starts DPDK, on CPU lcore, and opens the NIC; which says by which device, see
// settings.device.
// The VTEP's traffic does not come to it before take.
//
//	error: names the device or the resource and the fix; everything is undone
func openUnderlay(s *settings, which, lcore int, log hclog.Logger) (_ *underlay, err error) {
	address, err := s.addressOf(which)
	if err != nil {
		return nil, err
	}
	u := &underlay{which: which, pair: s.pair()}
	if u.memory, err = eal.Init(ealOptions(s, s.device(which), lcore, log)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	if u.pool, err = mempool.CreateMbufPool("baton", mempool.Options{Num: s.Memory.Buffers, DataRoom: dataRoom(s.Underlay.MTU)}); err != nil {
		return nil, err
	}
	u.nic, err = dpdk.Open(dpdk.Config{
		Name: underlayPort, Device: s.device(which), Queues: 1,
		MTU: int(s.Underlay.MTU), Pool: u.pool, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	info := u.nic.Info()
	mac := flow.MAC(info.MAC)
	if s.Underlay.Alternate != "" && !u.pair { // one of a pair is at its device, with that one's MAC
		mac = vtepMAC(address)
		if err = u.openSteer(s, mac); err != nil {
			return nil, err
		}
	}
	u.vtep, err = overlay.New(overlay.Config{IP: address, MAC: mac, MTU: int(s.Underlay.MTU)})
	if err != nil {
		return nil, fmt.Errorf("underlay %s: %w", s.device(which), err)
	}
	log.Info("underlay opened", "device", info.Detail, "address", address, "mac", net.HardwareAddr(mac[:]).String(), "mtu", s.Underlay.MTU)
	return u, nil
}

// vtepMAC is the tunnel end point's own address, which stays the same whichever device it is
// at: locally administered, made of the IP address, which is unique on the underlay.
func vtepMAC(p netip.Prefix) flow.MAC {
	ip := p.Addr().As4()
	return flow.MAC{0x02, 0x62, ip[0], ip[1], ip[2], ip[3]}
}

// openSteer finds out who decides where the VTEP's traffic goes, and asks for what is needed.
func (u *underlay) openSteer(s *settings, mac flow.MAC) (err error) {
	cfg := steer.Config{MAC: net.HardwareAddr(mac[:])}
	switch {
	case len(s.Underlay.BridgePorts) == 2:
		cfg.Ports, cfg.Netns = [2]string(s.Underlay.BridgePorts), s.Underlay.BridgeNetns
		err = u.nic.AddMAC(cfg.MAC)
	case eal.IsPCI(s.device(u.which)):
		cfg.Devices[u.which] = u.nic
	default: // a virtual device that no switch is behind
		return u.nic.AddMAC(cfg.MAC)
	}
	if err == nil {
		u.steer, err = steer.New(cfg)
	}
	if err == nil {
		err = u.steer.Check()
	}
	return err
}

// take brings the VTEP's traffic to device which, of this process or another.
func (u *underlay) take(which int) error {
	if u.steer == nil {
		return nil
	}
	return u.steer.Take(which)
}

func ealOptions(s *settings, device string, lcore int, log hclog.Logger) eal.Options {
	o := eal.Options{Logger: log, Lcores: []int{lcore}}
	need := func(pageSize int) int {
		return ealMiB + mempool.MemoryNeed(s.Memory.Buffers, dataRoom(s.Underlay.MTU), pageSize)>>20
	}
	o.MemoryMiB, o.PlainMiB = need(2<<20), need(os.Getpagesize())
	switch s.Memory.HugePages {
	case "require":
		o.HugePages = eal.HugeOn
	case "never":
		o.HugePages = eal.HugeOff
	}
	if eal.IsPCI(device) {
		o.PCI = []string{device}
	}
	return o
}

// dataRoom is the size of a buffer that holds the largest outer frame with its
// headroom, bytes: Ethernet, a VLAN tag and mtu bytes of L3, and a cache line
// that drivers such as net_af_packet want beyond, in whole cache lines.
func dataRoom(mtu uint16) int {
	return max(buf.DefaultDataRoom, buf.Headroom+(14+4+int(mtu)+64+63)&^63)
}

// describe says what memory DPDK chose.
func (u *underlay) describe() string {
	kind := "ordinary pages"
	if u.memory.HugePages {
		kind = "huge pages"
	}
	return fmt.Sprintf("%d MiB in %s of %d KiB", u.memory.MemoryMiB, kind, u.memory.PageSize>>10)
}

// close undoes what openUnderlay did, as far as it came. The workers have stopped.
func (u *underlay) close() (err error) {
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	if u.nic != nil {
		keep(u.nic.Close())
	}
	if u.pool != nil {
		keep(u.pool.Free())
	}
	keep(eal.Cleanup())
	return err
}
