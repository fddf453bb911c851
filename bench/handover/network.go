package handover

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"baton/bench/topology"
	"baton/controlplane/agent"
	"baton/controlplane/compile"
	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// MaxVMs is what the addresses are enough for, and an upgrade moves.
const MaxVMs = 1000

// firstID is the port id of the first VM; those below are topology's.
const firstID = 1000

// vms are n VMs on the host under test, all on one switch.
func vms(n int) []topology.VM {
	all := make([]topology.VM, n)
	for i := range all {
		id := uint16(firstID + i)
		hi, lo := byte(id>>8), byte(id)
		all[i] = topology.VM{
			Name: fmt.Sprintf("vm%d", i+1), Host: topology.Host, Switch: topology.Far1.Switch, VNI: topology.Far1.VNI, ID: id,
			IP: netip.AddrFrom4([4]byte{10, 1, hi, lo}), MAC: flow.MAC{0x02, 0, 0, 1, hi, lo},
		}
	}
	return all
}

// vtepMAC is the address that batond with an alternate device has on the underlay: made of
// its IP address.
func vtepMAC() flow.MAC {
	ip := topology.HostVTEP.IP.Addr().As4()
	return flow.MAC{0x02, 0x62, ip[0], ip[1], ip[2], ip[3]}
}

// writeRules writes the checkpoint that batond starts from into its state folder.
func writeRules(dir string, all []topology.VM) error {
	s, err := topology.Network()
	if err != nil {
		return err
	}
	var refs []model.Ref
	for _, v := range all {
		p := &model.Port{Name: v.Name, Switch: v.Switch, IP: model.Address{Addr: v.IP}, MAC: v.MAC, Host: v.Host, ID: v.ID}
		s.Set(p)
		refs = append(refs, p.Ref())
	}
	if err := model.Validate(s, refs).Err(); err != nil {
		return err
	}
	change := compile.Host(s, topology.Host).Change()
	return agent.WriteCheckpoint(filepath.Join(dir, "checkpoint"), topology.Host, 1, &change)
}
