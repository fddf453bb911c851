package e2e_test

import (
	"maps"
	"testing"
	"time"

	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// What guests send each other while their host is handed over. TCP at full speed would leave
// emulated CPUs on two cores no time for the pings. The window keeps all that it has under way in
// deepRings: where nothing else fails, nothing is lost.
const (
	trafficCard       = 0     // of bulk TCP
	pingCard          = 1     // of pings, which wait for nobody else's frames
	trafficRate       = 400e3 // of a connection, bytes a second
	trafficWindow     = 256 << 10
	trafficLimit      = 5 * time.Minute
	endOfPings        = "/end-of-pings"
	pingIntervalUs    = 1000
	shortestTimeoutUs = 200_000 // of Linux' TCP
)

// traffic is pings at 1 kHz and bulk TCP between a rig's guests, on one host and across hosts.
type traffic struct {
	r      *upgradeRig
	pings  []*pings
	bulks  []*tcpFlow
	before map[*machine]guestwire.CountersResult
	drops  map[string]uint64 // of both hosts, before
}

// pings are one guest's of another one; each guest has part in those of one pair.
type pings struct {
	from, to *machine
	done     chan struct{} // closed at their end
	got      guestwire.PingResult
	err      error
}

// tcpFlow is a TCP connection from one guest to another.
type tcpFlow struct {
	*lab.Bulk
	from, to *machine
}

func (r *upgradeRig) startTraffic() *traffic {
	t := r.t
	t.Helper()
	l := &traffic{r: r, before: map[*machine]guestwire.CountersResult{}, drops: r.drops()}
	for _, m := range r.machines() {
		l.before[m] = counters(t, m)
	}
	for i, way := range [][2]*machine{{r.x, r.a}, {r.b, r.x}, {r.a, r.c}, {r.c, r.b}} {
		from, to := way[0], way[1]
		b, err := from.StreamTCP(to.Guest, to.port(trafficCard).IP.String(),
			lab.BulkConfig{Seed: uint64(i), Rate: trafficRate, Window: trafficWindow, Limit: trafficLimit})
		must(t, err)
		l.bulks = append(l.bulks, &tcpFlow{b, from, to})
	}
	for _, way := range [][2]*machine{{r.x, r.a}, {r.b, r.c}} {
		p := &pings{from: way[0], to: way[1], done: make(chan struct{})}
		go func() {
			defer close(p.done)
			p.got, p.err = p.from.Ping(guestwire.PingArgs{
				Dst: p.to.port(pingCard).IP.String(), IntervalUs: pingIntervalUs, WaitMs: 10000,
				Until: endOfPings, Count: int(trafficLimit.Microseconds() / pingIntervalUs),
			})
		}()
		l.pings = append(l.pings, p)
	}
	return l
}

// end ends all and wants each byte to be right.
func (l *traffic) end() {
	t := l.r.t
	t.Helper()
	for _, p := range l.pings {
		must(t, p.from.Touch(endOfPings))
		<-p.done
		must(t, p.err)
	}
	for _, b := range l.bulks {
		tr, err := b.End()
		must(t, err)
		if err := tr.Check(tr.Sender.Bytes); err != nil {
			t.Errorf("TCP %s to %s: %v", b.from.name, b.to.name, err)
		}
		t.Logf("TCP %s to %s: %d MiB at %.0f Mbit/s, %d segments sent again", b.from.name, b.to.name, tr.Sender.Bytes>>20, tr.Mbits(), tr.Sender.Retransmits)
	}
	for _, p := range l.pings {
		t.Logf("pings %s to %s: %d of %d lost, %d of them on the way; %.1f ms there and back, %.1f at most; sent %.1f ms late at most",
			p.from.name, p.to.name, p.got.Sent-p.got.Received, p.got.Sent, l.lostOnTheWay(p),
			float64(p.got.AvgUs)/1e3, float64(p.got.MaxUs)/1e3, float64(p.got.LateUs)/1e3)
	}
}

// counted is by how much a counter of a guest's kernel has grown.
func (l *traffic) counted(m *machine, name string) int {
	l.r.t.Helper()
	return int(counters(l.r.t, m)[name] - l.before[m][name])
}

// lostOnTheWay is how many requests and replies left one guest's kernel and did not come intact
// to the other's: what is lost besides is the guests' own.
func (l *traffic) lostOnTheWay(p *pings) int {
	l.r.t.Helper()
	requests := l.counted(p.from, "IcmpOutEchos") - l.counted(p.to, "IcmpInEchos")
	replies := l.counted(p.to, "IcmpOutEchoReps") - l.counted(p.from, "IcmpInEchoReps")
	return requests + replies
}

// checkWhole wants that nothing was lost, doubled or came too late for TCP. What the guests' own
// kernels lose, with no CPU for long, is no switch's loss; of time-outs see checkTimeouts.
func (l *traffic) checkWhole() {
	t := l.r.t
	t.Helper()
	for _, p := range l.pings {
		if l.lostOnTheWay(p) != 0 || p.got.SendErrors+p.got.Corrupt+p.got.Duplicates != 0 {
			t.Errorf("pings %s to %s: %+v", p.from.name, p.to.name, p.got)
		}
	}
	if now := l.r.drops(); !maps.Equal(now, l.drops) {
		t.Errorf("dropped are %v, before %v", now, l.drops)
	}
	l.checkTimeouts()
}

// checkTimeouts wants no retransmission time-outs. A guest of emulated CPUs may have some because
// it stands still itself, and says so by pings that it sends late; that excuses none where a port of the switch
// stood still for a good part of the shortest time-out too. (What is lost checkWhole sees.)
func (l *traffic) checkTimeouts() {
	t := l.r.t
	t.Helper()
	late := int64(0)
	for _, p := range l.pings {
		late = max(late, p.got.LateUs)
	}
	excused := late >= shortestTimeoutUs && l.r.longestUs < shortestTimeoutUs/2
	for _, m := range l.r.machines() {
		switch n := l.counted(m, "TcpExtTCPTimeouts"); {
		case n != 0 && excused:
			t.Logf("%s: %d retransmission time-outs; guests stood still for up to %d us, ports for %.0f us", m.name, n, late, l.r.longestUs)
		case n != 0:
			t.Errorf("%s: %d retransmission time-outs; guests stood still for up to %d us, ports for %.0f us", m.name, n, late, l.r.longestUs)
		}
	}
}

// checkCrashed wants that nothing was lost but what a dying process has, and what comes for it.
func (l *traffic) checkCrashed() {
	l.r.t.Helper()
	for _, p := range l.pings {
		if p.got.Corrupt+p.got.SendErrors != 0 || l.lostOnTheWay(p) > p.got.Sent/20 {
			l.r.t.Errorf("pings %s to %s: %+v", p.from.name, p.to.name, p.got)
		}
	}
}

// drops is what both hosts have dropped, by reason.
func (r *upgradeRig) drops() map[string]uint64 {
	r.t.Helper()
	all := map[string]uint64{}
	for _, m := range []*machine{r.a, r.x} {
		for reason, n := range stats(r.t, m.host).Drops {
			all[reason] += n
		}
	}
	return all
}

func counters(t *testing.T, m *machine) guestwire.CountersResult {
	t.Helper()
	c, err := m.Counters()
	must(t, err)
	return c
}
