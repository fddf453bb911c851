package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"baton/test/lab/guestwire"
)

const (
	pingCount    = 50
	pingInterval = 20 * time.Millisecond
	pingPatience = 10 * time.Second // for late answers: a busy machine loses none
	pingSize     = 56               // bytes of payload, as ping(8) has it

	transferSize  = 32 << 20 // bytes; a few seconds under TCG
	transferSeed  = 2026
	transferLimit = 90 * time.Second
)

// pings pings from each VM to each other one that the network joins it with,
// and to its gateway.
func (n *network) pings(rep *report) error {
	n.lab.Logf("pinging from every VM to every other and to its gateway: %d requests each, %v apart", pingCount, pingInterval)
	for _, from := range n.plan.vms {
		for _, to := range n.plan.vms {
			if from.name == to.name || !reachable(from, to) {
				continue
			}
			if err := n.ping(rep, from, to.name, to.ip.String(), place(from, to), pingSize); err != nil {
				return err
			}
		}
		if from.gateway.IsValid() {
			if err := n.ping(rep, from, from.router, from.gateway.String(), "gateway", pingSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// bigPings fills the MTU that guests were told, and forbids fragments.
func (n *network) bigPings(rep *report) error {
	for _, sameSwitch := range []bool{true, false} {
		if a, b, ok := n.plan.acrossHosts(sameSwitch); ok {
			const headers = 20 + 8 // IPv4, ICMP
			if err := n.ping(rep, a, b.name, b.ip.String(), place(a, b)+", full MTU", min(a.mtu, b.mtu)-headers); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *network) ping(rep *report, from vm, name, ip, where string, size int) error {
	r, err := n.guests[from.name].Ping(guestwire.PingArgs{
		Dst: ip, Count: pingCount, IntervalUs: pingInterval.Microseconds(), Size: size, DF: true,
		WaitMs: pingPatience.Milliseconds(),
	})
	if err != nil {
		return err
	}
	k := check{
		What: "ping", From: from.name, To: name, Where: where, Unit: "packets",
		Sent: int64(r.Sent), Received: int64(r.Received),
		Detail: fmt.Sprintf("%d bytes, round trip %.1f ms (%.1f to %.1f), TTL %d",
			size, float64(r.AvgUs)/1e3, float64(r.MinUs)/1e3, float64(r.MaxUs)/1e3, r.TTL),
	}
	if len(r.Lost) > 0 {
		k.Detail += fmt.Sprintf(", lost numbers %v", r.Lost)
	}
	if r.Duplicates+r.Corrupt+r.SendErrors+r.Unreachable > 0 {
		k.Detail += fmt.Sprintf(", %d duplicate, %d corrupt, %d not sent, %d unreachable", r.Duplicates, r.Corrupt, r.SendErrors, r.Unreachable)
	}
	k.OK = r.Sent == pingCount && r.Received == pingCount && r.Duplicates+r.Corrupt+r.SendErrors == 0
	rep.add(n.lab, k)
	return nil
}

// transfers sends bulk TCP between VMs on different hosts and compares hashes.
func (n *network) transfers(rep *report) error {
	for _, sameSwitch := range []bool{true, false} {
		a, b, ok := n.plan.acrossHosts(sameSwitch)
		if !ok {
			continue
		}
		n.lab.Logf("sending %d MiB by TCP from %s to %s (%s)", transferSize>>20, a.name, b.name, place(a, b))
		t, err := n.guests[a.name].SendTCP(n.guests[b.name], b.ip.String(), transferSize, transferSeed, transferLimit)
		k := check{
			What: "bulk TCP", From: a.name, To: b.name, Where: place(a, b), Unit: "bytes",
			Sent: transferSize, Received: t.Receiver.Bytes,
		}
		if err == nil {
			err = t.Check(transferSize)
		}
		if err != nil {
			k.Detail = err.Error()
		} else {
			k.OK = true
			k.Detail = fmt.Sprintf("SHA-256 %.12s... at both ends, %.1f s, %.1f Mbit/s, %d segments again", t.Receiver.SHA256,
				float64(t.Sender.DurationMs)/1e3, float64(8*transferSize)/1e3/float64(max(t.Sender.DurationMs, 1)), t.Sender.Retransmits)
		}
		rep.add(n.lab, k)
	}
	return nil
}

// conservation checks that each host accounts for every packet it received.
func (n *network) conservation(rep *report) error {
	for _, m := range n.plan.hosts {
		s, quiet := n.Host(m.Name).CheckConserved()
		rep.add(n.lab, check{
			What: "counters", From: m.Name, Where: "all ports: in + made = out + dropped", Unit: "packets",
			Sent: int64(s.RxPackets + s.Generated), Received: int64(s.TxPackets),
			Detail: fmt.Sprintf("%d made, %d held; dropped: %s; %d rules, %d flows, %s", s.Generated, s.Held, dropText(s.Drops), s.Rules, s.Flows, s.Memory),
			OK:     quiet == nil && s.RxPackets > 0,
		})
	}
	return nil
}

func dropText(drops map[string]uint64) string {
	if len(drops) == 0 {
		return "none"
	}
	var parts []string
	for reason, n := range drops {
		parts = append(parts, fmt.Sprintf("%s %d", reason, n))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}
