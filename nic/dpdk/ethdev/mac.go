package ethdev

// #include "ethdev.h"
import "C"

import (
	"fmt"
	"net"
	"unsafe"
)

// MACAddr is the device's address.
func (p Port) MACAddr() (net.HardwareAddr, error) {
	mac := make(net.HardwareAddr, 6)
	err := p.do("MAC address", func() C.int { return C.baton_eth_mac(C.uint16_t(p), (*C.uint8_t)(unsafe.Pointer(&mac[0]))) })
	return mac, err
}

// SetMACAddr gives the device another address.
//
//	error: no unicast Ethernet address, ENOTSUP if the driver cannot
func (p Port) SetMACAddr(mac net.HardwareAddr) error {
	return p.doMAC("set", mac, func(c *C.uint8_t) C.int { return C.baton_eth_set_mac(C.uint16_t(p), c) })
}

// AddMACAddr has the device take frames for one more address. An address that it has
// already is no error.
//
//	error: no unicast Ethernet address, eal.ErrNotSupported if the driver has no filter
//	       of addresses, ENOSPC if the filter is full, what the driver says (a PF may
//	       refuse a VF that it does not trust)
func (p Port) AddMACAddr(mac net.HardwareAddr) error {
	return p.doMAC("add", mac, func(c *C.uint8_t) C.int { return C.baton_eth_add_mac(C.uint16_t(p), c) })
}

// RemoveMACAddr undoes AddMACAddr. An address that the device has not is no error.
//
//	error: no unicast Ethernet address, eal.ErrNotSupported as AddMACAddr, EADDRINUSE
//	       if it is the device's own (MACAddr)
func (p Port) RemoveMACAddr(mac net.HardwareAddr) error {
	return p.doMAC("remove", mac, func(c *C.uint8_t) C.int { return C.baton_eth_remove_mac(C.uint16_t(p), c) })
}

// doMAC is do for a call about an address.
func (p Port) doMAC(verb string, mac net.HardwareAddr, fn func(mac *C.uint8_t) C.int) error {
	if len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("MAC address %v: want a unicast Ethernet address", mac)
	}
	return p.do(fmt.Sprintf("%s MAC address %v", verb, mac), func() C.int { return fn((*C.uint8_t)(unsafe.Pointer(&mac[0]))) })
}
