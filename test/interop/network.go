package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// maxPairs is how many queue pairs a port of the hosts can have.
const maxPairs = 4

// port is a port of the model.
type port struct {
	name   string
	sw     string // switch
	host   string
	ip     netip.Addr
	mac    net.HardwareAddr
	number int // its id
}

func newPort(name, sw, host, ip string) port {
	addr := netip.MustParseAddr(ip)
	b := addr.As4()
	// The MAC is the one that the model derives from the address.
	return port{name: name, sw: sw, host: host, ip: addr, mac: net.HardwareAddr{0x02, 0xba, b[0], b[1], b[2], b[3]}, number: int(b[3])}
}

// neighbour is the port's line in a guest's neighbour table.
func (p port) neighbour() []guestwire.Neighbour {
	return []guestwire.Neighbour{{IP: p.ip.String(), MAC: p.mac.String()}}
}

// The ports that cells take in turn.
var (
	portA = [2]port{newPort("a0", "same", "host1", "10.0.0.1"), newPort("a1", "across", "host1", "10.0.1.1")}
	portB = [2]port{newPort("b0", "same", "host1", "10.0.0.2"), newPort("b1", "across", "host2", "10.0.1.2")}
	pmd   = newPort("pmd", "pmd", "host1", "10.0.2.1")
	gen   = newPort("gen", "pmd", "host1", "10.0.2.2")
)

// network is the hosts, running.
type network struct {
	*cluster.Cluster
	lab *lab.Lab
}

func model() string {
	docs := []string{
		"{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}",
		"{kind: Host, name: host2, underlay: 192.168.100.2/24, mtu: 1600}",
		"{kind: Switch, name: same, vni: 3001}",
		"{kind: Switch, name: across, vni: 3002}",
		"{kind: Switch, name: pmd, vni: 3003}",
	}
	for _, p := range []port{portA[0], portA[1], portB[0], portB[1], pmd, gen} {
		docs = append(docs, fmt.Sprintf("{kind: Port, name: %s, switch: %s, ip: %v, host: %s, id: %d}", p.name, p.sw, p.ip, p.host, p.number))
	}
	return strings.Join(docs, "\n---\n")
}

// startNetwork starts the controller and both hosts. host1 has two workers, so
// that a port's queues are spread over them.
func startNetwork(l *lab.Lab, bin string) (*network, error) {
	n := &network{lab: l}
	var err error
	if n.Cluster, err = cluster.New(l, cluster.Options{Bin: bin}); err != nil {
		return nil, err
	}
	l.Logf("starting baton-controller, and batond on host1 (two workers) and host2")
	if err := n.StartController(); err != nil {
		return nil, err
	}
	if err := n.Apply(model()); err != nil {
		return nil, err
	}
	for i, more := range [][]string{{"workers: {cpus: [0, 1]}"}, nil} {
		h, err := n.AddHost(cluster.HostConfig{
			Name: fmt.Sprintf("host%d", i+1), Underlay: netip.MustParsePrefix(fmt.Sprintf("192.168.100.%d/24", i+1)),
			CPU: 1, QueuePairs: maxPairs, More: append(more, "memory: {buffers: 16384}"),
		})
		if err != nil {
			return nil, err
		}
		if err := h.Start(); err != nil {
			return nil, err
		}
	}
	return n, n.WaitInStep("host1", "host2")
}

// note writes what batonctl says of the hosts next to the logs, while the cell that
// failed is still there.
func (n *network) note(c cell) {
	for _, host := range []string{"host1", "host2"} {
		var text strings.Builder
		for _, ask := range []string{"vhost list", "dataplane drops", "dataplane workers", "-o json vhost list"} {
			out, err := n.Host(host).Batonctl(strings.Fields(ask)...)
			if err != nil {
				out += err.Error()
			}
			fmt.Fprintf(&text, "batonctl %s\n%s\n", ask, out)
		}
		if _, err := n.WriteFile(host+"-"+c.String()+".txt", text.String()); err != nil {
			n.lab.Logf("%v", err)
		}
	}
}
