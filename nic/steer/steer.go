package steer

import (
	"errors"
	"fmt"
	"net"
)

// Neither is what Where answers if the VTEP is at none of the two devices.
const Neither = -1

// Device is a NIC whose filter takes further addresses: *dpdk.Port. To add an address
// that is there and to remove one that is not are no errors.
type Device interface {
	AddMAC(mac net.HardwareAddr) error
	RemoveMAC(mac net.HardwareAddr) error
}

// Config says what moves, and which way: by Ports or by Devices.
type Config struct {
	MAC net.HardwareAddr // the VTEP's

	// Ports are the names of the bridge's ports behind the first and the second device.
	// The devices take frames for MAC all the while (dpdk.Port.AddMAC): the bridge alone
	// decides.
	Ports [2]string
	// Netns is the path of the network namespace of the bridge, such as
	// /run/netns/NAME; empty: the caller's.
	Netns string

	// Devices are the first and the second device, nil for one that another process
	// has. Calls to one Device are made one after the other.
	Devices [2]Device
}

// way is how the VTEP moves.
type way interface {
	check() error
	take(which int) error
	where() (int, error)
	remove() error
}

// Steer moves the VTEP between the devices of two generations.
//
//	conc: safe for concurrent use
type Steer struct {
	mac net.HardwareAddr
	way way
}

// New is a Steer of cfg. It asks nobody and changes nothing: see Check.
//
//	error: what is missing in cfg
func New(cfg Config) (*Steer, error) {
	if len(cfg.MAC) != 6 || cfg.MAC[0]&1 != 0 {
		return nil, fmt.Errorf("steer: MAC address %v: want the VTEP's unicast Ethernet address", cfg.MAC)
	}
	s := &Steer{mac: append(net.HardwareAddr(nil), cfg.MAC...)}
	byPorts, byDevices := cfg.Ports != [2]string{}, cfg.Devices != [2]Device{}
	switch {
	case byPorts && byDevices:
		return nil, errors.New("steer: bridge ports and devices are given: give those that the VTEP is to move between")
	case byDevices:
		s.way = &devices{mac: s.mac, devs: cfg.Devices, at: Neither}
	case cfg.Ports[0] == "" || cfg.Ports[1] == "" || cfg.Ports[0] == cfg.Ports[1]:
		return nil, fmt.Errorf("steer: bridge ports %q: name the two ports of the bridge that the VTEP is to move between", cfg.Ports)
	default:
		s.way = &bridge{mac: s.mac, ports: cfg.Ports, netns: cfg.Netns}
	}
	return s, nil
}

// Check finds out whether Take can do its work, and changes nothing. Of devices it asks
// nothing: what they cannot do their AddMAC says.
//
//	error: a bridge port that does not exist, is in no bridge, or not in the other's; a
//	       MAC that is a port's own; a namespace that is none or not ours to enter. It
//	       names the object and the fix
func (s *Steer) Check() error { return s.wrap("check", s.way.check()) }

// Take moves the VTEP to device which, 0 or 1. To take what is there already changes
// nothing. When it returns without an error, frames for the VTEP that enter the switch
// from now on go to that device.
//
//	error: as Check, but of the one port; what netlink or the devices say
//	cost:  90 us on a bridge (BenchmarkTake)
func (s *Steer) Take(which int) error {
	if which != 0 && which != 1 {
		return fmt.Errorf("steer: take %d: there are devices 0 and 1", which)
	}
	return s.wrap(fmt.Sprintf("move to device %d", which), s.way.take(which))
}

// Where is the device that has the VTEP, or Neither. On a bridge the kernel is asked for
// the entry that Take makes, by whichever process; one that the bridge has learned is
// none, since it moves with the next frame. Of devices it is what this Steer did last.
//
//	error: the namespace, what netlink says; then Neither
func (s *Steer) Where() (int, error) {
	at, err := s.way.where()
	if err != nil {
		return Neither, s.wrap("look up", err)
	}
	return at, nil
}

// Remove takes the VTEP from both devices: on a bridge it deletes the entry, and frames
// go where the bridge learns, or everywhere. If there is none, it changes nothing.
//
//	error: the namespace, what netlink or the devices say
func (s *Steer) Remove() error { return s.wrap("remove", s.way.remove()) }

func (s *Steer) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("steer VTEP %v: %s: %w", s.mac, what, err)
}
