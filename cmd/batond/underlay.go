package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"baton/dataplane/buf"
	"baton/dataplane/flow"
	"baton/dataplane/overlay"
	"baton/nic/dpdk"
	"baton/nic/dpdk/eal"
	"baton/nic/dpdk/mempool"
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
}

// openUnderlay starts DPDK and opens the NIC.
//
//	error: names the device or the resource and the fix; everything is undone
func openUnderlay(s *settings, log hclog.Logger) (_ *underlay, err error) {
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	u := &underlay{}
	if u.memory, err = eal.Init(ealOptions(s, log)); err != nil {
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
		Name: underlayPort, Device: s.Underlay.Device, Queues: 1,
		MTU: int(s.Underlay.MTU), Pool: u.pool, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	info := u.nic.Info()
	u.vtep, err = overlay.New(overlay.Config{IP: address, MAC: flow.MAC(info.MAC), MTU: int(s.Underlay.MTU)})
	if err != nil {
		return nil, fmt.Errorf("underlay %s: %w", s.Underlay.Device, err)
	}
	log.Info("underlay opened", "device", info.Detail, "address", address, "mac", info.MAC.String(), "mtu", s.Underlay.MTU)
	return u, nil
}

func ealOptions(s *settings, log hclog.Logger) eal.Options {
	o := eal.Options{Logger: log, Lcores: s.Workers.CPUs[:1]}
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
	if eal.IsPCI(s.Underlay.Device) {
		o.PCI = []string{s.Underlay.Device}
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
