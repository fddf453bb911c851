package dpdk

import (
	"errors"
	"fmt"
	"net"

	"baton/nic/dpdk/mempool"

	"github.com/hashicorp/go-hclog"
)

// DefaultDesc is the number of descriptors a queue: 32 bursts, what the drivers'
// vector paths are made for.
const DefaultDesc = 1024

// Config is how a device becomes a port of the switch. Name, Device and Pool
// must be given.
type Config struct {
	Name string // the port's name in the switch
	// Device is a PCI address ("0000:03:02.1", which eal.Options.PCI must list) or
	// a virtual device with arguments ("net_af_packet0,iface=eth1").
	Device  string
	Queues  int              // queue pairs; 0 = 1
	RxDesc  int              // receive descriptors a queue; 0 = DefaultDesc
	TxDesc  int              // transmit descriptors a queue; 0 = DefaultDesc
	MTU     int              // bytes of the largest L3 packet; 0 = the device's
	MAC     net.HardwareAddr // nil = the device's
	Promisc bool             // take frames for other addresses too
	Pool    *mempool.Pool    // buffers of received packets
	Logger  hclog.Logger     // nil = none
}

// withDefaults is c with its zero values filled in.
//
//	error: what is missing
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		return c, errors.New("nic: a port needs a name")
	}
	if c.Device == "" {
		return c, fmt.Errorf("nic %s: no device given: want a PCI address or a virtual device", c.Name)
	}
	if c.Pool == nil {
		return c, fmt.Errorf("nic %s: no pool given", c.Name)
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.RxDesc == 0 {
		c.RxDesc = DefaultDesc
	}
	if c.TxDesc == 0 {
		c.TxDesc = DefaultDesc
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c, nil
}
