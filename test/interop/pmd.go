package main

import (
	"context"
	"errors"
	"fmt"

	"baton/test/lab"
	"baton/vhost/guest"
)

// runPMD plays a cell with testpmd, which answers the generator's pings and gives back
// what it sends.
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
	if err := host.WaitPorts(pmd.name, gen.name); err != nil {
		return got, err
	}
	if err := askMAC(ctx, g); err != nil {
		return got, err
	}
	for _, k := range []struct {
		mode string
		exchange
		came *int
	}{{"icmpecho", icmpEchoes, &got.Pings}, {"macswap", numberedPackets, &got.Packets}} {
		if *k.came, err = answered(ctx, g, p, k.mode, k.exchange); err != nil {
			return got, fmt.Errorf("%s: %w", k.mode, err)
		}
	}
	v, err := n.vhostShow(pmd)
	if err != nil {
		return got, err
	}
	closed = true
	return got, errors.Join(checkUsed(since(v, began), false), conserved(host), g.Close(), p.Quit())
}

// answered has testpmd forward in a mode and plays an exchange with it.
//
//	came: packets that came back as they must
//	error: also if testpmd counted others than all of them
func answered(ctx context.Context, g *guest.Guest, p *lab.Testpmd, mode string, x exchange) (came int, err error) {
	if err := p.Forward(mode); err != nil {
		return 0, err
	}
	e := newEcho(g, x)
	if err := e.run(ctx); err != nil {
		return e.came, err
	}
	rx, tx, err := p.StopForwarding()
	if err == nil && (rx != uint64(x.count) || tx != uint64(x.count)) {
		err = fmt.Errorf("testpmd counted %d packets received and %d sent, want %d", rx, tx, x.count)
	}
	return e.came, err
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
