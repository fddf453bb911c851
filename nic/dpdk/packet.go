package dpdk

import (
	"fmt"
	"net"
	"strconv"

	"baton/dataplane/port"
	"baton/nic/dpdk/eal"
)

// packetDriver is the driver of kernel interfaces (a veth leg in a lab). It does
// not know its interface's MTU or state, so those are asked of the kernel.
const packetDriver = "net_af_packet"

const (
	// packetFrame is the driver's default frame size, with the kernel's head.
	packetFrame = 2048
	// packetHead is that head on receiving: tpacket2_hdr and sockaddr_ll, the link
	// layer's 16 bytes, aligned to 16 (tpacket_rcv in the kernel), less 14.
	packetHead = 66
	// etherHead is an Ethernet header with a VLAN tag.
	etherHead = 18
)

// frameMTU is the largest MTU whose frames the device string's frame size holds;
// the kernel cuts longer frames short without a word.
func (p *Port) frameMTU() int {
	size := packetFrame
	if n, err := strconv.Atoi(eal.DeviceArg(p.cfg.Device, "framesz")); err == nil {
		size = n
	}
	return size - packetHead - etherHead
}

// checkPacketMTU compares the MTU that is wanted with the interface's and with
// the size of the driver's frames.
func (p *Port) checkPacketMTU() error {
	iface := p.iface()
	if p.cfg.MTU == 0 || iface == nil {
		return nil
	}
	if iface.MTU < p.cfg.MTU {
		return fmt.Errorf("MTU %d: interface %s has %d: ip link set %s mtu %d", p.cfg.MTU, iface.Name, iface.MTU, iface.Name, p.cfg.MTU)
	}
	if most := p.frameMTU(); most < p.cfg.MTU {
		return fmt.Errorf("MTU %d: the driver's frames hold %d: the device string's framesz=BYTES makes them larger", p.cfg.MTU, most)
	}
	return nil
}

// packetInfo corrects what the driver says by what the interface is.
func (p *Port) packetInfo(info *port.Info) {
	iface := p.iface()
	if iface == nil {
		info.Up = false // it was removed
		return
	}
	info.Up = info.Up && iface.Flags&net.FlagRunning != 0
	info.MTU = min(iface.MTU, p.frameMTU())
	if p.cfg.MTU != 0 {
		info.MTU = p.cfg.MTU
	}
}

// iface is the kernel interface behind the device, nil if there is none.
func (p *Port) iface() *net.Interface {
	var found *net.Interface
	if name := eal.DeviceArg(p.cfg.Device, "iface"); name != "" {
		// On the EAL's thread, as the driver looked it up there.
		_ = eal.Do(func() (err error) { found, err = net.InterfaceByName(name); return err })
	}
	return found
}
