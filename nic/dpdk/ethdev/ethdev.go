package ethdev

/*
#cgo pkg-config: libdpdk
#include <stdlib.h>
#include "ethdev.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
)

// Port is DPDK's number of an Ethernet device. Numbers are used again after a
// device is removed: keep ports by name.
//
//	conc: all methods are safe for concurrent use, but none may run beside Close
type Port uint16

// Info is what a device can do and is.
type Info struct {
	Driver       string // DPDK's driver name
	IfIndex      int    // the kernel interface behind the device, 0 if there is none
	MinMTU       int    // bytes
	MaxMTU       int    // bytes
	MaxRxPktLen  int    // bytes, from the Ethernet header on
	MinRxBufSize int    // bytes
	MaxRxQueues  int
	MaxTxQueues  int
	RxOffloads   uint64 // RTE_ETH_RX_OFFLOAD_*
	TxOffloads   uint64 // RTE_ETH_TX_OFFLOAD_*
	Socket       int    // NUMA node, -1 if unknown
}

// Config is how a device is set up. Scatter stays off, so that a received frame is one
// buffer; the device drops larger ones and counts them in XStats.
type Config struct {
	Queues int // queue pairs
	RxDesc int // descriptors a receive queue; the device may round
	TxDesc int // descriptors a transmit queue; the device may round
	MTU    int // bytes; 0 = the device's
	RxIntr bool
	// RxOffloads and TxOffloads are RTE_ETH_{RX,TX}_OFFLOAD_*, all of which the device
	// offers (Info).
	RxOffloads, TxOffloads uint64

	MemPool *mempool.Pool // buffers of the receive queues
}

// Link is the state of the wire.
type Link struct {
	Up         bool
	FullDuplex bool
	SpeedMbps  uint32 // 0xffffffff if unknown
}

// Stats are the counters that every device has.
type Stats struct {
	RxPackets, TxPackets, RxBytes, TxBytes uint64
	RxMissed                               uint64 // no descriptor was free
	RxErrors, TxErrors                     uint64
	RxNoMbuf                               uint64 // the pool was empty
}

// XStat is one counter of the device's own.
type XStat struct {
	Name  string
	Value uint64
}

// CountAvail is the number of devices.
func CountAvail() int { return int(C.baton_eth_count()) }

// GetPortByName is the device of a PCI address or of a virtual device's name.
//
//	error: an eal.Errno that is ENODEV
func GetPortByName(name string) (Port, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	ret := int(C.baton_eth_by_name(cname))
	if err := eal.AsError(ret); err != nil {
		return 0, fmt.Errorf("device %s: %w", name, err)
	}
	return Port(ret), nil
}

// do runs a control call on the EAL's thread and says what it was.
func (p Port) do(what string, fn func() C.int) error {
	return eal.Do(func() error {
		eal.Problems() // older complaints are not about this call
		err := eal.AsError(int(fn()))
		if err != nil {
			return fmt.Errorf("%s: %w%s", what, err, eal.Problems())
		}
		return nil
	})
}

// Info asks the driver.
func (p Port) Info() (Info, error) {
	var c C.struct_baton_dev_info
	if err := p.do("device info", func() C.int { return C.baton_eth_info(C.uint16_t(p), &c) }); err != nil {
		return Info{}, err
	}
	return Info{
		Driver: C.GoString(&c.driver[0]), IfIndex: int(c.if_index),
		MinMTU: int(c.min_mtu), MaxMTU: int(c.max_mtu), MaxRxPktLen: int(c.max_rx_pktlen), MinRxBufSize: int(c.min_rx_bufsize),
		MaxRxQueues: int(c.max_rx_queues), MaxTxQueues: int(c.max_tx_queues),
		RxOffloads: uint64(c.rx_offloads), TxOffloads: uint64(c.tx_offloads), Socket: int(c.socket),
	}, nil
}

// Configure sets up a stopped device with all its queues.
//
//	error: more queues than the device has, an MTU out of its range, what the driver says
func (p Port) Configure(cfg Config) error {
	info, err := p.Info()
	if err != nil {
		return err
	}
	if err := check(cfg, info); err != nil {
		return err
	}
	c := C.struct_baton_conf{
		queues: C.uint16_t(cfg.Queues), rx_desc: C.uint16_t(cfg.RxDesc), tx_desc: C.uint16_t(cfg.TxDesc), mtu: C.uint16_t(cfg.MTU),
		rx_offloads: C.uint64_t(cfg.RxOffloads), tx_offloads: C.uint64_t(cfg.TxOffloads),
	}
	if cfg.RxIntr {
		c.rx_intr = 1
	}
	if err := p.do("configure", func() C.int { return C.baton_eth_configure(C.uint16_t(p), &c) }); err != nil {
		return err
	}
	for i := range cfg.Queues {
		err := p.do(fmt.Sprintf("set up queue %d", i), func() C.int {
			return C.baton_eth_queue_setup(C.uint16_t(p), C.uint16_t(i), &c, (*C.struct_rte_mempool)(cfg.MemPool.Handle()))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// check compares what is wanted with what the device can do.
func check(cfg Config, info Info) error {
	most := min(info.MaxRxQueues, info.MaxTxQueues)
	if cfg.Queues < 1 || cfg.Queues > most {
		hint := ""
		if info.Driver == "net_af_packet" {
			hint = "; the device string's qpairs=N gives it more"
		}
		return fmt.Errorf("%d queue pairs are wanted, %s has 1 to %d%s", cfg.Queues, info.Driver, most, hint)
	}
	if cfg.RxDesc < 1 || cfg.RxDesc > 32768 || cfg.TxDesc < 1 || cfg.TxDesc > 32768 {
		return fmt.Errorf("%d receive and %d transmit descriptors: want 1 to 32768", cfg.RxDesc, cfg.TxDesc)
	}
	if cfg.MTU != 0 && (cfg.MTU < max(info.MinMTU, 68) || cfg.MTU > info.MaxMTU) {
		return fmt.Errorf("MTU %d: %s takes %d to %d", cfg.MTU, info.Driver, max(info.MinMTU, 68), info.MaxMTU)
	}
	if rx, tx := cfg.RxOffloads&^info.RxOffloads, cfg.TxOffloads&^info.TxOffloads; rx|tx != 0 {
		return fmt.Errorf("offloads: %s has not receive %#x and transmit %#x", info.Driver, rx, tx)
	}
	if cfg.MemPool == nil {
		return errors.New("no mempool given")
	}
	return nil
}

// Start lets packets through.
func (p Port) Start() error {
	return p.do("start", func() C.int { return C.baton_eth_start(C.uint16_t(p)) })
}

// Stop ends what Start began; the queues' buffers go back to the pool.
func (p Port) Stop() error {
	return p.do("stop", func() C.int { return C.baton_eth_stop(C.uint16_t(p)) })
}

// Close frees the device's queues. The port number is free afterwards.
func (p Port) Close() error {
	return p.do("close", func() C.int { return C.baton_eth_close(C.uint16_t(p)) })
}

// MTU is the largest L3 packet, in bytes.
func (p Port) MTU() (int, error) {
	var mtu C.int
	err := p.do("MTU", func() C.int { mtu = C.baton_eth_mtu(C.uint16_t(p)); return mtu })
	return int(mtu), err
}

// SetMTU changes it; most drivers want the port stopped.
func (p Port) SetMTU(mtu int) error {
	if mtu < 68 || mtu > 65535 {
		return fmt.Errorf("MTU %d: want 68 to 65535", mtu)
	}
	return p.do(fmt.Sprintf("set MTU %d", mtu), func() C.int { return C.baton_eth_set_mtu(C.uint16_t(p), C.uint16_t(mtu)) })
}

// PromiscEnable receives frames for other addresses too.
func (p Port) PromiscEnable() error {
	return p.do("promiscuous mode", func() C.int { return C.baton_eth_promisc(C.uint16_t(p), 1) })
}

// PromiscDisable undoes PromiscEnable.
func (p Port) PromiscDisable() error {
	return p.do("promiscuous mode off", func() C.int { return C.baton_eth_promisc(C.uint16_t(p), 0) })
}

// Link asks for the wire's state without waiting for it to settle.
func (p Port) Link() (Link, error) {
	var c C.struct_baton_link
	err := p.do("link", func() C.int { return C.baton_eth_link(C.uint16_t(p), &c) })
	return Link{Up: c.up != 0, FullDuplex: c.full_duplex != 0, SpeedMbps: uint32(c.speed)}, err
}

// Stats reads the device's counters.
func (p Port) Stats() (Stats, error) {
	var c C.struct_baton_eth_stats
	err := p.do("statistics", func() C.int { return C.baton_eth_stats(C.uint16_t(p), &c) })
	return Stats{
		RxPackets: uint64(c.ipackets), TxPackets: uint64(c.opackets), RxBytes: uint64(c.ibytes), TxBytes: uint64(c.obytes),
		RxMissed: uint64(c.imissed), RxErrors: uint64(c.ierrors), TxErrors: uint64(c.oerrors), RxNoMbuf: uint64(c.rx_nombuf),
	}, err
}

// StatsReset sets the device's counters to zero.
func (p Port) StatsReset() error {
	return p.do("reset statistics", func() C.int { return C.baton_eth_stats_reset(C.uint16_t(p)) })
}

// XStats reads all counters that the driver has, in the driver's order.
func (p Port) XStats() ([]XStat, error) {
	var out []XStat
	err := p.do("extended statistics", func() C.int {
		n := C.baton_eth_xstats(C.uint16_t(p), nil, 0)
		if n <= 0 {
			return n
		}
		c := make([]C.struct_baton_xstat, n)
		n = C.baton_eth_xstats(C.uint16_t(p), &c[0], n)
		for i := range max(n, 0) {
			out = append(out, XStat{C.GoString(&c[i].name[0]), uint64(c[i].value)})
		}
		return n
	})
	return out, err
}
