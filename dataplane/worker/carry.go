package worker

import "baton/dataplane/stats"

// Carried is a pool's counters as plain data, for the pool of another process to go on with.
// They count modulo 2^64: a process may subtract as dropped late what another one has
// counted as sent, and the sum is right.
type Carried struct {
	Ports map[string]CarriedTotals `json:"ports"` // by name
	Gone  CarriedTotals            `json:"gone"`  // of ports that are gone
}

// CarriedTotals are Totals whose drops are named, so that versions with other reasons
// understand each other. What is 0 may be absent.
type CarriedTotals struct {
	RxPackets uint64            `json:"rx_packets"`
	RxBytes   uint64            `json:"rx_bytes"`
	TxPackets uint64            `json:"tx_packets"`
	TxBytes   uint64            `json:"tx_bytes"`
	Generated uint64            `json:"generated"`
	Drops     map[string]uint64 `json:"drops"` // by stats.DropReason.String
}

// Carried is what the pool has counted so far, what it was restored to included. To get all
// of it, the workers have ended or hold nothing.
func (p *Pool) Carried() Carried {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Carried{Ports: map[string]CarriedTotals{}, Gone: carriedOf(&p.retired)}
	for name, t := range p.carried {
		c.Ports[name] = carriedOf(&t)
	}
	lay := p.layout.Load()
	for i := range lay.slots {
		if s := &lay.slots[i]; s.port != nil {
			t := p.portTotals(s, i)
			c.Ports[s.name] = carriedOf(&t)
		}
	}
	return c
}

// Restore adds what another process has counted: each count must come once. Totals tell
// it at once, and so does Ports of a port that is attached, or when one of that name is added.
// A new process restores what the old one tells when that has stopped; an old one that goes on
// after all, what the new one, with nothing restored, has counted meanwhile. Drops under a
// reason that this version does not know count as stats.DropOther.
func (p *Pool) Restore(c Carried) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := c.Gone.totals()
	p.retired.add(&gone)
	for name, one := range c.Ports {
		sum, more := p.carried[name], one.totals()
		sum.add(&more)
		p.carried[name] = sum
	}
}

// carriedOf is t with its drops by name.
func carriedOf(t *Totals) CarriedTotals {
	c := CarriedTotals{
		RxPackets: t.RxPackets, RxBytes: t.RxBytes, TxPackets: t.TxPackets, TxBytes: t.TxBytes, Generated: t.Generated,
		Drops: map[string]uint64{},
	}
	for i, n := range t.Drops {
		if n != 0 {
			c.Drops[stats.DropReason(i).String()] = n
		}
	}
	return c
}

// totals is c with its drops by number.
func (c *CarriedTotals) totals() Totals {
	t := Totals{RxPackets: c.RxPackets, RxBytes: c.RxBytes, TxPackets: c.TxPackets, TxBytes: c.TxBytes, Generated: c.Generated}
	for name, n := range c.Drops {
		r, ok := stats.ParseDropReason(name)
		if !ok {
			r = stats.DropOther
		}
		t.Drops[r] += n
	}
	return t
}
