package topology

import (
	"fmt"
	"net/netip"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Names of the hosts: the system under test runs on Host.
const (
	Host = "dut"
	Far  = "far"
)

// VNIs of the switches and the router.
const (
	Blue   = 101
	Green  = 102
	Router = 103
)

// MTU is that of the underlay, bytes of L3: room for 1518-byte frames and their tunnel.
const MTU = 1600

// VTEP is a host's tunnel end point.
type VTEP struct {
	Name string
	IP   netip.Prefix
	MAC  flow.MAC
}

// The tunnel end points.
var (
	HostVTEP = VTEP{Host, netip.MustParsePrefix("192.168.100.1/24"), flow.MAC{0x02, 0xff, 0, 0, 0, 1}}
	FarVTEP  = VTEP{Far, netip.MustParsePrefix("192.168.100.2/24"), flow.MAC{0x02, 0xff, 0, 0, 0, 2}}
)

// VM is a machine with one port.
type VM struct {
	Name   string
	Host   string
	Switch string
	VNI    uint32 // of the switch
	ID     uint16 // of the port on the switch
	IP     netip.Addr
	MAC    flow.MAC
}

// The VMs.
var (
	VM1  = vm("vm1", Host, "blue", Blue, 11)
	VM2  = vm("vm2", Host, "blue", Blue, 12)
	Far1 = vm("far1", Far, "blue", Blue, 13)
	VM3  = vm("vm3", Host, "green", Green, 14)
	Far2 = vm("far2", Far, "green", Green, 15)
)

func vm(name, host, sw string, vni uint32, id uint16) VM {
	second := byte(0)
	if vni == Green {
		second = 2
	}
	mac := flow.MAC{0x02, 0, 0, 0, second, byte(id)}
	switch name { // what testpmd's flowgen sends is from and to these, whatever one asks for
	case "vm1":
		mac = flow.MAC{0, 1, 2, 3, 4, 0}
	case "far1":
		mac = flow.MAC{0, 1, 2, 3, 4, 1}
	}
	return VM{name, host, sw, vni, id, netip.AddrFrom4([4]byte{10, second, 1, byte(id)}), mac}
}

// FormatMAC is a MAC address as text.
func FormatMAC(mac [6]byte) string { return flow.MAC(mac).String() }

// Gateway is the router's port on a switch.
type Gateway struct {
	Switch string
	ID     uint16 // on the switch
	Number uint16 // on the router
	IP     netip.Prefix
	MAC    flow.MAC
}

// The router's ports.
var (
	BlueGateway  = Gateway{"blue", 1, 1, netip.MustParsePrefix("10.0.0.1/15"), flow.MAC{0x02, 0, 0, 1, 0, 1}}
	GreenGateway = Gateway{"green", 1, 2, netip.MustParsePrefix("10.2.0.1/15"), flow.MAC{0x02, 0, 0, 1, 0, 2}}
)

// Network is the logical network with all that a store would allocate. Each VM of names
// has a port; the far ones always do.
//
//	error: a name that no VM has
func Network(names ...string) (*model.State, error) {
	s := model.NewState(
		host(HostVTEP), host(FarVTEP),
		&model.Switch{Name: "blue", VNI: Blue}, &model.Switch{Name: "green", VNI: Green},
		&model.Router{Name: "r1", VNI: Router},
		link(BlueGateway), link(GreenGateway), port(Far1), port(Far2),
	)
	local := map[string]VM{VM1.Name: VM1, VM2.Name: VM2, VM3.Name: VM3}
	for _, n := range names {
		v, ok := local[n]
		if !ok {
			return nil, fmt.Errorf("topology: no VM %q", n)
		}
		s.Set(port(v))
	}
	var refs []model.Ref
	for _, o := range s.List("") {
		refs = append(refs, o.Ref())
	}
	return s, model.Validate(s, refs).Err()
}

func host(v VTEP) *model.Host {
	return &model.Host{Name: v.Name, Underlay: model.Address{Addr: v.IP.Addr(), Bits: uint8(v.IP.Bits())}, MAC: v.MAC, MTU: MTU}
}

func port(v VM) *model.Port {
	return &model.Port{Name: v.Name, Switch: v.Switch, IP: model.Address{Addr: v.IP}, MAC: v.MAC, Host: v.Host, ID: v.ID}
}

func link(g Gateway) *model.Port {
	return &model.Port{
		Name: "r1-" + g.Switch, Switch: g.Switch, Router: "r1", IP: model.Address{Addr: g.IP.Addr(), Bits: uint8(g.IP.Bits())}, MAC: g.MAC, ID: g.ID,
		Status: model.PortState{ID: g.ID, RouterID: g.Number, MAC: g.MAC},
	}
}
