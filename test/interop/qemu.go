package main

import (
	"errors"
	"fmt"
	"time"

	"baton/hostapi"
	"baton/test/lab"
	"baton/test/lab/guestwire"
	"baton/vhost/proto"
)

const (
	bootLimit     = 90 * time.Second // of two guests, under TCG on two cores
	waitLimit     = 30 * time.Second
	transferLimit = 60 * time.Second

	pingCount     = 20
	pingInterval  = 2 * time.Millisecond
	transferBytes = 4 << 20
)

// pair is the two guests of a cell.
type pair struct {
	n    *network
	cell cell
	a, b *lab.Guest
	// began has what batond said of each port before the cell.
	began map[string]hostapi.Vhost
}

// runQEMU plays a cell with two Linux guests.
//
//	error: what failed first
func (n *network) runQEMU(c cell) (got measured, err error) {
	p := &pair{n: n, cell: c, began: map[string]hostapi.Vhost{}}
	defer func() {
		if err != nil {
			n.note(c)
		}
		for _, g := range []*lab.Guest{p.a, p.b} {
			if g != nil {
				g.Kill()
			}
		}
		err = errors.Join(err, n.waitGone(portA[0], portA[1], portB[0], portB[1]))
	}()
	for _, port := range []port{portA[0], portA[1], portB[0], portB[1]} {
		if p.began[port.name], err = n.vhostShow(port); err != nil {
			return got, err
		}
	}
	if err := p.boot(); err != nil {
		return got, err
	}
	if err := p.each(func(g *lab.Guest, link string, port port) error { return p.negotiated(g, link, port) }); err != nil {
		return got, err
	}
	if err := p.pings(&got); err != nil {
		return got, err
	}
	for i, speed := range []*float64{&got.SameMbits, &got.AcrossMbits} {
		if err := p.transfers(i, speed); err != nil {
			return got, err
		}
		if err := p.flows(i, &got); err != nil {
			return got, err
		}
	}
	err = p.each(func(_ *lab.Guest, _ string, port port) error {
		v, err := n.vhostShow(port)
		if err == nil {
			v = since(v, p.began[port.name])
			err = errors.Join(checkUsed(v, port.sw == portA[1].sw), checkSupers(p.cell, v, port.sw == portA[1].sw))
		}
		return err
	})
	return got, errors.Join(err, p.a.CheckHealth(), p.b.CheckHealth(), conserved(n.Host("host1"), n.Host("host2")))
}

// boot starts both guests at once and makes them ready.
func (p *pair) boot() (err error) {
	start := func(name string, ports [2]port) (*lab.Guest, error) {
		cfg := lab.GuestConfig{Name: name + "-" + p.cell.String(), MemoryMiB: p.cell.memory()}
		for _, port := range ports {
			cfg.NICs = append(cfg.NICs, lab.NIC{
				MAC: port.mac, VhostSocket: p.n.Host(port.host).VhostSocket(port.name),
				QueuePairs: p.cell.Queues, Device: p.cell.qemuDevice(),
			})
		}
		return p.n.lab.StartGuest(cfg)
	}
	if p.a, err = start("a", portA); err != nil {
		return err
	}
	if p.b, err = start("b", portB); err != nil {
		return err
	}
	return p.each(func(g *lab.Guest, link string, port port) error {
		if err := g.WaitReady(bootLimit); err != nil {
			return err
		}
		if err := g.Configure(guestwire.NetArgs{Link: link, Addr: fmt.Sprintf("%v/24", port.ip)}); err != nil {
			return err
		}
		// A guest uses as many queue pairs as it has CPUs, unless told.
		if _, err := g.SetChannels(link, p.cell.Queues); err != nil {
			return err
		}
		return p.n.Host(port.host).WaitPorts(port.name)
	})
}

// memory is what a guest of the cell needs, in MiB: without mergeable buffers each
// of a ring's 256 must hold a super-segment, 17 pages with its header.
func (c cell) memory() int {
	const base, perRing, cards = 160, 256 * 17 * 4 >> 10, 2
	if *c.Offloads && !*c.Mergeable {
		return base + cards*c.Queues*perRing
	}
	return base
}

// each does something for each card of each guest.
func (p *pair) each(do func(g *lab.Guest, link string, port port) error) error {
	for i := range portA {
		link := fmt.Sprint("eth", i)
		if err := errors.Join(do(p.a, link, portA[i]), do(p.b, link, portB[i])); err != nil {
			return err
		}
	}
	return nil
}

// deviceFeatures are the features that concern guest and back end alike; the
// rest is between the guest and QEMU, or between QEMU and the back end.
const deviceFeatures = proto.FeatureCsum | proto.FeatureGuestCsum | proto.FeatureGuestTSO4 | proto.FeatureGuestTSO6 |
	proto.FeatureGuestECN | proto.FeatureHostTSO4 | proto.FeatureHostTSO6 | proto.FeatureHostECN | proto.FeatureMrgRxbuf |
	proto.FeatureIndirectDesc | proto.FeatureEventIdx | proto.FeatureRingPacked | proto.FeatureInOrder

// negotiated holds what batond says of a card against the cell, and against what
// the guest says.
func (p *pair) negotiated(g *lab.Guest, link string, port port) error {
	v, err := p.n.vhostShow(port)
	if err != nil {
		return err
	}
	if err := checkNegotiated(p.cell, v); err != nil {
		return err
	}
	var host uint64
	if _, err := fmt.Sscanf(v.Features, "0x%x", &host); err != nil {
		return fmt.Errorf("%s: features %q: %w", port.name, v.Features, err)
	}
	l, err := g.Link(link)
	if err != nil {
		return err
	}
	if (host^l.Features)&deviceFeatures != 0 {
		return fmt.Errorf("%s: batond has features %#x, the guest %#x: they differ in %v",
			port.name, host, l.Features, proto.FeatureNames((host^l.Features)&deviceFeatures))
	}
	return nil
}

// pings pings both ways on both cards, small packets and large.
func (p *pair) pings(got *measured) error {
	for i := range portA {
		for _, size := range []int{guestwire.NumberSize, 1400} {
			r, err := p.a.Ping(guestwire.PingArgs{
				Dst: portB[i].ip.String(), Count: pingCount, IntervalUs: pingInterval.Microseconds(), Size: size, WaitMs: 5000,
			})
			if err != nil {
				return err
			}
			got.Pings += r.Received
			if r.Received != pingCount || r.Duplicates+r.Corrupt+r.SendErrors != 0 {
				return fmt.Errorf("ping %s to %s, %d bytes: %d of %d came back, %d twice, %d corrupt, %d not sent",
					portA[i].name, portB[i].name, size, r.Received, pingCount, r.Duplicates, r.Corrupt, r.SendErrors)
			}
		}
	}
	return nil
}

// transfers sends bulk TCP both ways by card i and compares the hashes.
func (p *pair) transfers(i int, speed *float64) error {
	for _, way := range []struct {
		from, to *lab.Guest
		dst      port
	}{{p.a, p.b, portB[i]}, {p.b, p.a, portA[i]}} {
		t, err := way.from.SendTCP(way.to, way.dst.ip.String(), transferBytes, uint64(i), transferLimit)
		if err == nil {
			err = t.Check(transferBytes)
		}
		if err != nil {
			return fmt.Errorf("bulk TCP to %s: %w", way.dst.name, err)
		}
		*speed = max(*speed, t.Mbits())
	}
	return nil
}
