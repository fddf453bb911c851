package dpdk

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"baton/nic/dpdk/eal"
)

// MAC is the device's own address, nil after Close.
func (p *Port) MAC() net.HardwareAddr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	mac, err := p.dev.MACAddr()
	if err != nil {
		return nil
	}
	return mac
}

// AddMAC has the device take frames for mac besides those for its own address. An
// address that it takes already is no error.
//
// On hardware that is an entry in the NIC's filter; a VF needs the PF's trust. Drivers
// without a filter are made promiscuous, if Config.Promisc has not done so:
// net_af_packet passes the mode on to its interface (a veth delivers frames for any
// address regardless), net_tap to the kernel's, and net_null takes all there is. Those
// take frames for every address then: what a switch in front of them delivers decides.
//
//	error: ErrClosed, no unicast Ethernet address, what the driver says; changes nothing
func (p *Port) AddMAC(mac net.HardwareAddr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.control(func() error { return p.addMAC(mac) })
}

// RemoveMAC undoes AddMAC. An address that was not added is no error, the device's own
// is: it cannot be given up.
//
//	error: ErrClosed, no unicast Ethernet address, the device's own, what the driver says
func (p *Port) RemoveMAC(mac net.HardwareAddr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.control(func() error { return p.removeMAC(mac) })
}

// control runs fn on an open port. mu is held.
func (p *Port) control(fn func() error) error {
	if p.closed {
		return ErrClosed
	}
	if err := fn(); err != nil {
		return fmt.Errorf("nic %s: device %s: %w", p.cfg.Name, deviceName(p.cfg.Device), err)
	}
	return nil
}

func (p *Port) addMAC(mac net.HardwareAddr) error {
	own, err := p.dev.MACAddr()
	if err != nil || bytes.Equal(own, mac) {
		return err
	}
	if err := p.dev.AddMACAddr(mac); !errors.Is(err, eal.ErrNotSupported) {
		return err
	}
	if err := p.dev.PromiscEnable(); err != nil {
		return fmt.Errorf("add MAC address %v: %s has no filter of addresses: %w", mac, p.driver.Driver, err)
	}
	if p.letIn == nil {
		p.letIn = map[string]bool{}
	}
	p.letIn[mac.String()] = true
	return nil
}

func (p *Port) removeMAC(mac net.HardwareAddr) error {
	own, err := p.dev.MACAddr()
	if err != nil {
		return err
	}
	if bytes.Equal(own, mac) {
		return fmt.Errorf("remove MAC address %v: it is the device's own: what is to move must be an address of no device", mac)
	}
	if err := p.dev.RemoveMACAddr(mac); !errors.Is(err, eal.ErrNotSupported) {
		return err
	}
	if !p.letIn[mac.String()] {
		return nil
	}
	if len(p.letIn) == 1 && !p.cfg.Promisc {
		if err := p.dev.PromiscDisable(); err != nil && !errors.Is(err, eal.ErrNotSupported) {
			return err
		}
	}
	delete(p.letIn, mac.String())
	return nil
}
