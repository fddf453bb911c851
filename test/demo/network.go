package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"time"

	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// bootLimit is for all guests together, under TCG on two cores.
const bootLimit = 90 * time.Second

// headerBytes of each packet are captured: Geneve with its option and the inner
// headers are 116; the bulk transfer's payload would only keep tshark busy.
const headerBytes = 256

// network is the example network, running.
type network struct {
	*cluster.Cluster
	lab     *lab.Lab
	plan    *plan
	example string
	capture *lab.Capture
	guests  map[string]*lab.Guest
}

func (n *network) start() error {
	for _, step := range []func() error{n.startDaemons, n.apply, n.bootGuests, n.waitReady} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) startDaemons() error {
	n.lab.Logf("capturing the underlay, a Linux bridge; starting baton-controller with an etcd of its own")
	var err error
	n.capture, err = n.lab.Capture(lab.CaptureConfig{
		Name: "underlay", Netns: n.Bridge.Netns, Ifname: n.Bridge.Name, SnapLen: headerBytes,
	})
	if err != nil {
		return err
	}
	if err := n.StartController(); err != nil {
		return err
	}
	for i, m := range n.plan.hosts {
		cpu := i % runtime.NumCPU()
		n.lab.Logf("starting batond on %s, in a network namespace: underlay %v, worker on CPU %d", m.Name, m.Underlay, cpu)
		cfg := cluster.HostConfig{Name: m.Name, Underlay: netip.PrefixFrom(m.Underlay.Addr, int(m.Underlay.Bits)), CPU: cpu}
		if m.MAC != [6]byte{} { // absent: the kernel's choice, which batond reports
			cfg.MAC = m.MAC[:]
		}
		h, err := n.AddHost(cfg)
		if err != nil {
			return err
		}
		if err := h.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) apply() error {
	n.lab.Logf("batonctl apply -f %s", filepath.Base(n.example))
	_, err := n.Batonctl("apply", "-f", n.example)
	return err
}

func (n *network) bootGuests() error {
	n.guests = make(map[string]*lab.Guest)
	for _, v := range n.plan.vms {
		n.lab.Logf("booting %s on %s: QEMU, virtio-net by vhost-user, %v/%d on switch %s", v.name, v.host, v.ip, v.bits, v.sw)
		g, err := n.lab.StartGuest(lab.GuestConfig{Name: v.name, NICs: []lab.NIC{{
			MAC: v.mac, MTU: v.mtu, VhostSocket: n.Host(v.host).VhostSocket(v.name),
		}}})
		if err != nil {
			return err
		}
		n.guests[v.name] = g
	}
	deadline := time.Now().Add(bootLimit)
	for _, v := range n.plan.vms {
		g := n.guests[v.name]
		if err := g.WaitReady(time.Until(deadline)); err != nil {
			return err
		}
		err := g.Configure(guestwire.NetArgs{
			Link: "eth0", Addr: fmt.Sprintf("%v/%d", v.ip, v.bits), Gateway: v.gateway.String(),
		})
		if err != nil {
			return err
		}
		link, err := g.Link("eth0")
		if err != nil {
			return err
		}
		n.lab.Logf("%s is up: Linux %s, %s, MTU %d, after %d ms", v.name, g.Hello().Kernel, link.MAC, link.MTU, g.Hello().UptimeMs)
	}
	return nil
}

// waitReady waits until each host has applied the whole network and has a port
// that is up for each of its VMs.
func (n *network) waitReady() error {
	n.lab.Logf("waiting until every VM's port is up and every host has what the controller wants there")
	var names []string
	for _, m := range n.plan.hosts {
		names = append(names, m.Name)
	}
	if err := n.WaitInStep(names...); err != nil {
		return err
	}
	for _, name := range names {
		var ports []string
		for _, v := range n.plan.vms {
			if v.host == name {
				ports = append(ports, v.name)
			}
		}
		if err := n.Host(name).WaitPorts(ports...); err != nil {
			return err
		}
	}
	return nil
}
