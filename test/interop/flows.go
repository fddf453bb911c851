package main

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"baton/dataplane/stats"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

const (
	// numFlows datagrams of a round go by as many queues as there are: that one of
	// four gets none of 64 flows has odds of 1 to 25 million.
	numFlows = 64
	// flowCount is more than a ring holds: a guest whose emulated CPU stands still for
	// long loses some, as it must, and each of those must be counted.
	flowCount = 8 * numFlows
	flowPace  = 500 * time.Microsecond
	flowIdle  = 5 * time.Second
	// minShare: one of so many must come. A ring of 256 alone has room for half of them.
	minShare = 4
)

// flows sends datagrams of many flows both ways by card i at the same time, so
// that every queue has its share. Each arrives once and unchanged, or was counted
// where it was dropped because a ring was full.
func (p *pair) flows(i int, got *measured) error {
	// Nobody asks for addresses meanwhile: what is dropped then is a datagram.
	link := fmt.Sprint("eth", i)
	err := errors.Join(p.a.Configure(guestwire.NetArgs{Link: link, Neighbours: portB[i].neighbour()}),
		p.b.Configure(guestwire.NetArgs{Link: link, Neighbours: portA[i].neighbour()}))
	if err != nil {
		return err
	}
	before, err := p.dropped(link)
	if err != nil {
		return err
	}
	var sent, came [2]int
	var errs [2]error
	var wg sync.WaitGroup
	for k, way := range []struct {
		from, to *lab.Guest
		dst      port
	}{{p.a, p.b, portB[i]}, {p.b, p.a, portA[i]}} {
		wg.Go(func() {
			s, r, err := way.from.SendUDP(way.to, guestwire.UDPSendArgs{
				Dst: way.dst.ip.String(), Port: 7000, Count: flowCount, Size: 600, IntervalUs: flowPace.Microseconds(), Flows: numFlows,
			}, flowIdle)
			if err == nil && (r.Corrupt+r.Duplicates+s.Errors != 0 || s.Sent != flowCount) {
				err = fmt.Errorf("%d corrupt, %d twice, %d of %d not sent", r.Corrupt, r.Duplicates, s.Errors, flowCount)
			}
			if err != nil {
				errs[k] = fmt.Errorf("datagrams to %s: %w", way.dst.name, err)
			}
			sent[k], came[k] = s.Sent, r.Received
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	after, err := p.dropped(link)
	if err != nil {
		return err
	}
	got.Datagrams += came[0] + came[1]
	n, err := checkLoss(sent, came, before, after)
	got.Dropped += n
	return err
}

// full are the reasons for which a datagram may be dropped.
var full = []stats.DropReason{stats.DropTxFull, stats.DropHandoffFull}

// checkLoss holds the datagrams that did not come against what was counted as
// dropped, by place and reason, before and after.
//
//	lost: datagrams that were dropped because something was full
//	error: one is missing that nobody counted, or most are
func checkLoss(sent, came [2]int, before, after map[string]int) (lost int, err error) {
	since := maps.Clone(after)
	for name, n := range before {
		if since[name] -= n; since[name] == 0 {
			delete(since, name)
		}
	}
	for _, n := range since {
		lost += n
	}
	if missing := sent[0] + sent[1] - came[0] - came[1]; missing != lost {
		return lost, fmt.Errorf("datagrams: %v sent, %v came, but dropped were %v", sent, came, since)
	}
	for k := range sent {
		if minShare*came[k] < sent[k] {
			return lost, fmt.Errorf("datagrams: of %v sent only %v came; dropped were %v", sent, came, since)
		}
	}
	return lost, nil
}

// dropped are the counts of all that can drop a datagram for want of room: both
// switches, and the guests' cards and sockets.
func (p *pair) dropped(link string) (map[string]int, error) {
	all := map[string]int{}
	for _, name := range []string{"host1", "host2"} {
		s, err := p.n.Host(name).Stats()
		if err != nil {
			return nil, err
		}
		for _, r := range full {
			all[name+" "+r.String()] = int(s.Drops[r.String()])
		}
	}
	for _, g := range []*lab.Guest{p.a, p.b} {
		l, err := g.Link(link)
		if err != nil {
			return nil, err
		}
		c, err := g.Counters()
		if err != nil {
			return nil, err
		}
		all[g.Name()+" card"] = int(l.Statistics["rx_dropped"] + l.Statistics["tx_dropped"])
		all[g.Name()+" socket"] = int(c["UdpRcvbufErrors"] + c["UdpSndbufErrors"])
	}
	return all, nil
}
