package main

import (
	"context"
	"errors"
	"fmt"

	"baton/test/lab"
	"baton/vhost/guest"
)

// runPMD plays a cell with testpmd, which gives back what the generator sends.
//
//	error: what failed first
func (n *network) runPMD(c cell) (got measured, err error) {
	host := n.Host(pmd.host)
	began, err := n.vhostShow(pmd)
	if err != nil {
		return got, err
	}
	p, err := n.lab.StartTestpmd(lab.TestpmdConfig{
		Name: "testpmd-" + c.String(), Socket: host.VhostSocket(pmd.name), Server: true, Device: c.pmdDevice(), Queues: c.Queues,
		MAC: pmd.mac, IP: pmd.ip, PeerMAC: gen.mac, PeerIP: gen.ip,
	})
	if err != nil {
		return got, err
	}
	defer func() {
		if err != nil {
			n.note(c)
			p.Crash()
		}
		err = errors.Join(err, n.waitGone(pmd, gen))
	}()
	ctx, cancel := context.WithTimeout(n.lab.Context(), waitLimit)
	defer cancel()
	g, err := guest.New(ctx, guest.Config{
		Name: gen.name, Path: n.Host(gen.host).VhostSocket(gen.name), Listen: true, Blocking: true, QueuePairs: c.Queues,
	})
	if err != nil {
		return got, err
	}
	closed := false
	defer func() {
		if !closed {
			g.Abandon()
		}
	}()
	if err := n.waitNegotiated(c, pmd); err != nil {
		return got, err
	}
	if err := errors.Join(host.WaitPorts(pmd.name, gen.name), p.Forward("macswap")); err != nil {
		return got, err
	}
	e := newEcho(g)
	err = e.run(ctx)
	got.Packets = e.came
	if err != nil {
		return got, err
	}
	rx, tx, err := p.StopForwarding()
	if err == nil && (rx != numPackets || tx != numPackets) {
		err = fmt.Errorf("testpmd counted %d packets received and %d sent, want %d", rx, tx, numPackets)
	}
	if err != nil {
		return got, err
	}
	v, err := n.vhostShow(pmd)
	if err != nil {
		return got, err
	}
	closed = true
	return got, errors.Join(checkUsed(since(v, began), false), conserved(host), g.Close(), p.Quit())
}

// waitNegotiated waits until testpmd has enabled its rings, which it does one
// after the other, and holds them against the cell.
func (n *network) waitNegotiated(c cell, p port) error {
	var last error
	err := n.lab.WaitFor(fmt.Sprintf("%d queue pairs of %s", c.Queues, p.name), waitLimit, func() bool {
		v, err := n.vhostShow(p)
		if err == nil {
			err = checkNegotiated(c, v)
		}
		last = err
		return err == nil
	})
	if err != nil {
		return errors.Join(last, err)
	}
	return nil
}
