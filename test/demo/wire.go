package main

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"baton/controlplane/model"
	"baton/test/lab"
)

// underlay ends the capture and checks with tshark that VM traffic crossed the
// underlay in Geneve, with the datapath and the ports it belongs to.
func (n *network) underlay(rep *report) error {
	n.lab.Logf("reading the underlay's capture with tshark")
	if err := n.capture.Stop(); err != nil {
		return err
	}
	all, err := n.lab.Dissect(n.capture.File, "")
	if err != nil {
		return err
	}
	ids, err := n.identities()
	if err != nil {
		return err
	}
	good, shown, problems := 0, make(map[uint32]bool), make(map[string]int)
	for _, p := range all {
		if problem := ids.check(p); problem != "" {
			problems[problem]++
			continue
		}
		good++
		if !shown[p.VNI] {
			shown[p.VNI] = true
			o, _ := p.Baton()
			n.lab.Logf("     tshark, frame %d: %s -> %s UDP %d, Geneve VNI %#x, option class %#x type %#x: source port %d, destination port %d, flags %#x, command %d; inside %s",
				p.Frame, p.IPSrc[0], p.IPDst[0], p.UDPDst[0], p.VNI, lab.OptionClass, lab.OptionType, o.SrcPort, o.DstPort, o.Flags, o.Command, inner(p))
		}
	}
	rep.add(n.lab, check{
		What: "Geneve", From: "underlay", Where: "tshark: VNI and option of every tunnel packet", Unit: "packets",
		Sent: int64(len(all)), Received: int64(good), OK: good == len(all) && good > 0, Detail: problemText(problems),
	})
	return n.bare(rep)
}

// bare counts packets of VMs that crossed the underlay outside Geneve: none may.
func (n *network) bare(rep *report) error {
	filter := "!geneve && ip && ("
	for i, v := range n.plan.vms {
		if i > 0 {
			filter += " || "
		}
		filter += "ip.addr == " + v.ip.String()
	}
	count, err := n.lab.CountPackets(n.capture.File, filter+")")
	if err != nil {
		return err
	}
	rep.add(n.lab, check{
		What: "Geneve", From: "underlay", Where: "packets of VMs outside Geneve (want none)", Unit: "packets", OK: count == 0,
		Sent: int64(count), Received: int64(count), Detail: fmt.Sprintf("%d found", count),
	})
	return nil
}

func inner(p lab.GenevePacket) string {
	if len(p.IPSrc) > 1 {
		return p.IPSrc[1] + " -> " + p.IPDst[1]
	}
	return p.Protocols
}

func problemText(problems map[string]int) string {
	text := ""
	for problem, n := range problems {
		text += fmt.Sprintf("%d with %s; ", n, problem)
	}
	if text == "" {
		return "one option each, critical, ids as the controller gave them"
	}
	return text
}

// identities are the ids that the controller gave.
type identities struct {
	datapaths map[uint32]string
	ports     map[netip.Addr]portID // of VMs
	vteps     map[string]bool
}

type portID struct {
	vni uint32
	id  uint16
}

// identities asks the controller for the network with the ids that it allocated.
func (n *network) identities() (*identities, error) {
	state := model.NewState()
	for _, kind := range []string{"hosts", "switches", "routers", "ports"} {
		out, err := n.Batonctl("get", kind, "-o", "json")
		if err != nil {
			return nil, err
		}
		var docs []json.RawMessage
		if err := json.Unmarshal([]byte(out), &docs); err != nil {
			return nil, fmt.Errorf("batonctl get %s -o json: %w", kind, err)
		}
		for _, d := range docs {
			o, err := model.DecodeJSON(d)
			if err != nil {
				return nil, fmt.Errorf("batonctl get %s -o json: %w", kind, err)
			}
			state.Set(o)
		}
	}
	ids := &identities{datapaths: map[uint32]string{}, ports: map[netip.Addr]portID{}, vteps: map[string]bool{}}
	for _, s := range state.Switches {
		ids.datapaths[s.ID()] = s.Name
	}
	for _, r := range state.Routers {
		ids.datapaths[r.ID()] = r.Name
	}
	for _, h := range state.Hosts {
		ids.vteps[h.Underlay.Addr.String()] = true
	}
	for _, p := range state.Ports {
		if s := state.Switches[p.Switch]; s != nil && !p.IsLink() {
			ids.ports[p.IP.Addr] = portID{s.ID(), p.SwitchID()}
		}
	}
	return ids, nil
}

// check says what is wrong with a tunnel packet; empty if nothing is.
func (ids *identities) check(p lab.GenevePacket) string {
	o, ok := p.Baton()
	switch {
	case p.Malformed:
		return "malformed headers"
	case !ok:
		return "no baton option, or another one"
	case !p.Critical:
		return "a critical option and a header that does not say so"
	case ids.datapaths[p.VNI] == "":
		return fmt.Sprintf("VNI %#x, which no datapath has", p.VNI)
	case !ids.vteps[p.IPSrc[0]] || !ids.vteps[p.IPDst[0]]:
		return "an outer address that is no host's"
	case len(p.UDPDst) == 0 || p.UDPDst[0] != 6081:
		return "another UDP port than 6081"
	}
	if len(p.IPDst) < 2 {
		return "" // ARP and the like
	}
	dst, err := netip.ParseAddr(p.IPDst[1])
	if err != nil {
		return "an inner address that cannot be read"
	}
	want, known := ids.ports[dst]
	if !known {
		return "an inner destination that is no VM: " + p.IPDst[1]
	}
	// The packet is in the destination's switch when it leaves, whatever routers it passed.
	if p.VNI != want.vni || o.DstPort != want.id {
		return fmt.Sprintf("VNI %#x and port %d for %s, which is port %d of %#x", p.VNI, o.DstPort, p.IPDst[1], want.id, want.vni)
	}
	src, err := netip.ParseAddr(p.IPSrc[1])
	if from, known := ids.ports[src]; err == nil && known && from.vni == want.vni && o.SrcPort != from.id {
		return fmt.Sprintf("source port %d for %s, which is port %d", o.SrcPort, src, from.id)
	}
	return ""
}
