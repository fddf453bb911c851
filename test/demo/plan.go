package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sort"

	"baton/controlplane/model"
)

// plan is what the example network asks of this machine.
type plan struct {
	state *model.State
	hosts []*model.Host // by name
	vms   []vm          // by name
}

// vm is a guest to boot.
type vm struct {
	name    string
	host    string
	sw      string // logical switch
	ip      netip.Addr
	bits    int
	gateway netip.Addr // the router's port on the switch; invalid if there is none
	router  string
	mac     net.HardwareAddr
	mtu     int // bytes of L3 that the underlay leaves
}

// readPlan reads the example and finds hosts and guests in it.
func readPlan(file string) (*plan, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("example network: %w", err)
	}
	docs, err := model.Parse(file, data)
	if err != nil {
		return nil, err
	}
	p := &plan{state: model.NewState()}
	for _, d := range docs {
		p.state.Set(d.Object)
	}
	for _, h := range p.state.Hosts {
		p.hosts = append(p.hosts, h)
	}
	sort.Slice(p.hosts, func(i, j int) bool { return p.hosts[i].Name < p.hosts[j].Name })
	for _, port := range p.state.Ports {
		if port.IsLink() || port.Host == "" {
			continue
		}
		v, err := p.vmOf(port)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		p.vms = append(p.vms, v)
	}
	sort.Slice(p.vms, func(i, j int) bool { return p.vms[i].name < p.vms[j].name })
	if len(p.hosts) < 2 || len(p.vms) < 2 {
		return nil, fmt.Errorf("%s: %d hosts and %d VMs: the demo needs two of each", file, len(p.hosts), len(p.vms))
	}
	return p, nil
}

func (p *plan) vmOf(port *model.Port) (vm, error) {
	host := p.state.Hosts[port.Host]
	if host == nil {
		return vm{}, fmt.Errorf("port %s: host %s is not in the file", port.Name, port.Host)
	}
	hw := port.HW()
	v := vm{
		name: port.Name, host: port.Host, sw: port.Switch, ip: port.IP.Addr, mac: net.HardwareAddr(hw[:]),
		mtu: int(host.UnderlayMTU()) - model.TunnelOverhead,
	}
	for _, link := range p.state.Ports {
		if link.IsLink() && link.Switch == port.Switch && link.IP.Prefix().Contains(v.ip) {
			v.gateway, v.bits, v.router = link.IP.Addr, int(link.IP.Bits), link.Router
		}
	}
	if v.bits == 0 {
		return vm{}, errors.New("port " + port.Name + ": no router's port on its switch tells the length of its subnet")
	}
	return v, nil
}

// place says where two VMs are to each other.
func place(a, b vm) string {
	hosts, way := "across hosts", "same switch"
	if a.host == b.host {
		hosts = "same host"
	}
	if a.sw != b.sw {
		way = "through the router"
	}
	return hosts + ", " + way
}

// reachable reports whether the network joins the two.
func reachable(a, b vm) bool { return a.sw == b.sw || a.router != "" && a.router == b.router }

// acrossHosts finds a pair of VMs on different hosts, on the same switch or not.
func (p *plan) acrossHosts(sameSwitch bool) (a, b vm, ok bool) {
	for _, a := range p.vms {
		for _, b := range p.vms {
			if a.host != b.host && (a.sw == b.sw) == sameSwitch && reachable(a, b) {
				return a, b, true
			}
		}
	}
	return vm{}, vm{}, false
}

// underlayMTU is the MTU of the underlay that carries all hosts' packets, bytes.
func (p *plan) underlayMTU() int {
	mtu := 0
	for _, h := range p.hosts {
		mtu = max(mtu, int(h.UnderlayMTU()))
	}
	return mtu
}
