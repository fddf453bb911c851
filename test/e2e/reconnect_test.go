package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// reconnectCards are a guest's network cards: both ring formats, one and four queue
// pairs, all that the guest's driver can do besides.
var reconnectCards = []struct {
	name, device, format string
	pairs                int
}{
	{"split, 1 pair", "", "split", 1}, {"split, 4 pairs", "", "split", 4},
	{"packed, 1 pair", "packed=on", "packed", 1}, {"packed, 4 pairs", "packed=on", "packed", 4},
}

const (
	// reconnectPings at movePace cover both restarts of the switch.
	reconnectPings = 2500
	reconnectBulk  = 12 << 20 // bytes, by each card in each of the restarts
)

// reconnectRig is a guest on host1 whose switch is killed, and its peer on host2; card
// i of both is on switch s<i>.
type reconnectRig struct {
	c        *cluster.Cluster
	h1       *cluster.Host
	vm, peer *lab.Guest
	ports    []string // of vm
}

// TestReconnect kills the switch of a guest twice while it is pinged by all its cards
// and sends and receives bulk TCP, and starts it again, the second time told to offer
// neither offloads nor packed rings. QEMU listens, as is the default. The guest hears
// nothing of it but that its carrier goes and comes: features, queues and headers are
// what they were, and the connections go on.
func TestReconnect(t *testing.T) {
	r := newReconnectRig(t)
	before := r.state(t)
	r.checkNegotiated(t)
	type pinged struct {
		card   int
		result guestwire.PingResult
		err    error
	}
	pings := make(chan pinged, len(reconnectCards))
	for i := range reconnectCards {
		go func() {
			p, err := r.ping(i, reconnectPings, movePace)
			pings <- pinged{i, p, err}
		}()
	}
	for round, vhost := range []string{"", "offloads: false, packed: false"} {
		r.restart(t, round, vhost)
		if now := r.state(t); !slices.Equal(now, before) {
			t.Errorf("restart %d: devices were\n%s\nand are\n%s", round+1, strings.Join(before, "\n"), strings.Join(now, "\n"))
		}
		r.checkNegotiated(t)
		for i, k := range reconnectCards {
			if p, err := r.ping(i, 20, time.Millisecond); err != nil || p.Received != p.Sent || p.Corrupt+p.Duplicates+p.SendErrors != 0 {
				t.Errorf("%s: after restart %d: ping %+v, %v", k.name, round+1, p, err)
			}
		}
	}
	for range reconnectCards {
		p := <-pings
		must(t, p.err)
		r, name := p.result, reconnectCards[p.card].name
		if r.Corrupt+r.Duplicates != 0 || r.Received == 0 { // that all come again was seen after each restart
			t.Errorf("%s: ping %+v", name, r)
		}
		t.Logf("%s: %d of %d pings lost in two restarts, longest gap %v", name, r.Sent-r.Received, r.Sent,
			time.Duration(longestRun(r.Lost))*movePace)
	}
	for _, g := range []*lab.Guest{r.vm, r.peer} {
		must(t, g.CheckHealth())
	}
}

func newReconnectRig(t *testing.T) *reconnectRig {
	t.Helper()
	r := &reconnectRig{c: newCluster(t)}
	docs := []string{
		"{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}",
		"{kind: Host, name: host2, underlay: 192.168.100.2/24, mtu: 1600}",
	}
	for i := range reconnectCards {
		r.ports = append(r.ports, fmt.Sprint("vm", i))
		docs = append(docs, fmt.Sprintf("{kind: Switch, name: s%d, vni: %d}", i, 4001+i),
			fmt.Sprintf("{kind: Port, name: vm%d, switch: s%d, ip: 10.0.%d.11, host: host1, id: 1}", i, i, i),
			fmt.Sprintf("{kind: Port, name: peer%d, switch: s%d, ip: 10.0.%d.12, host: host2, id: 2}", i, i, i))
	}
	startController(t, r.c, strings.Join(docs, "\n---\n"))
	cfg1, cfg2 := host1(), host2()
	cfg1.QueuePairs, cfg2.QueuePairs = 4, 4
	r.h1 = startHost(t, r.c, cfg1)
	h2 := startHost(t, r.c, cfg2)
	must(t, r.c.WaitInStep("host1", "host2"))
	r.vm, r.peer = r.guest(t, r.h1, "vm", 11), r.guest(t, h2, "peer", 12)
	for g, last := range map[*lab.Guest]int{r.vm: 11, r.peer: 12} {
		must(t, g.WaitReady(guestBoot))
		for i := range reconnectCards {
			must(t, g.Configure(guestwire.NetArgs{Link: fmt.Sprint("eth", i), Addr: fmt.Sprintf("10.0.%d.%d/24", i, last)}))
		}
	}
	must(t, r.h1.WaitPorts(r.ports...))
	return r
}

// guest starts a guest with all cards on a host; card i is port <name><i>.
func (r *reconnectRig) guest(t *testing.T, h *cluster.Host, name string, last int) *lab.Guest {
	t.Helper()
	cfg := lab.GuestConfig{Name: name, CPUs: 4, MemoryMiB: 256}
	for i, k := range reconnectCards {
		e := endpointOf(fmt.Sprint(name, i), fmt.Sprintf("10.0.%d.%d", i, last))
		cfg.NICs = append(cfg.NICs, lab.NIC{MAC: e.MAC, VhostSocket: h.VhostSocket(e.Name), QueuePairs: k.pairs, Device: k.device})
	}
	g, err := r.c.Lab.StartGuest(cfg)
	must(t, err)
	t.Cleanup(g.Kill)
	return g
}

// ping pings the guest by one of its cards.
func (r *reconnectRig) ping(card, n int, pace time.Duration) (guestwire.PingResult, error) {
	return r.peer.Ping(guestwire.PingArgs{Dst: fmt.Sprintf("10.0.%d.11", card), Count: n, IntervalUs: pace.Microseconds(), WaitMs: 10000})
}

// restart kills the guest's switch while bulk TCP flows by each card and starts it
// again, with more in its configuration's vhost section. The guest sends by two of the
// cards and receives by the others, and the other way round in the other round.
func (r *reconnectRig) restart(t *testing.T, round int, vhost string) {
	t.Helper()
	var sums []uint64
	done := make(chan error, len(reconnectCards))
	for i, k := range reconnectCards {
		from, to, last := r.peer, r.vm, 11
		if (i == 1 || i == 2) == (round == 0) {
			from, to, last = r.vm, r.peer, 12
		}
		p := hostPort(t, r.h1, r.ports[i])
		sums = append(sums, p.TxBytes+p.RxBytes)
		go func() {
			tr, err := from.SendTCP(to, fmt.Sprintf("10.0.%d.%d", i, last), reconnectBulk, uint64(4*round+i), moveLimit)
			if err == nil {
				err = tr.Check(reconnectBulk)
			}
			if err != nil {
				err = fmt.Errorf("%s: restart %d: %w", k.name, round+1, err)
			}
			done <- err
		}()
	}
	for i, sum := range sums {
		must(t, r.c.Lab.WaitFor("the bulk to begin", moveLimit, func() bool {
			p := hostPort(t, r.h1, r.ports[i])
			return p.TxBytes+p.RxBytes > sum+1<<20
		}))
	}
	if n := len(done); n != 0 {
		t.Errorf("restart %d: %d transfers were over before the switch was killed", round+1, n)
	}
	r.h1.Proc.Kill()
	_, err := r.h1.Proc.WaitExit(moveLimit)
	must(t, err)
	r.h1.Reconfigure(func(cfg *cluster.HostConfig) { cfg.Vhost = vhost })
	must(t, r.h1.Start())
	must(t, r.h1.WaitPorts(r.ports...))
	for range reconnectCards {
		if err := <-done; err != nil {
			t.Error(err)
			r.dump(t)
		}
	}
}

// dump logs what the rings look like from both sides.
func (r *reconnectRig) dump(t *testing.T) {
	t.Helper()
	for _, port := range r.ports {
		out, err := r.h1.Batonctl("vhost", "show", port)
		t.Logf("%s%v", out, err)
	}
	out, err := r.vm.Exec(guestWait, "sh", "-c", "grep virtio /proc/interrupts; cat /proc/net/dev; dmesg | tail -5")
	t.Logf("%s%v", out.Stdout, err)
}

func (r *reconnectRig) vhosts(t *testing.T) (all []hostapi.Vhost) {
	t.Helper()
	vhosts, err := r.h1.API.Vhosts(t.Context())
	must(t, err)
	for _, v := range vhosts {
		if slices.Contains(r.ports, v.Port) {
			all = append(all, v)
		}
	}
	if len(all) != len(r.ports) {
		t.Fatalf("%d vhost devices, want %d", len(all), len(r.ports))
	}
	slices.SortFunc(all, func(a, b hostapi.Vhost) int { return strings.Compare(a.Port, b.Port) })
	return all
}

// state is what a restart must leave as it was, a line a port.
func (r *reconnectRig) state(t *testing.T) (all []string) {
	t.Helper()
	for _, v := range r.vhosts(t) {
		line := fmt.Sprintf("%s: offered %s, features %s, header %d bytes, %d pairs, rings", v.Port, v.Offered, v.Features, v.HeaderBytes, v.Active)
		for _, g := range v.Rings {
			line += fmt.Sprintf(" %d:%s/%d/%v/%v/%s", g.Index, g.Format, g.Size, g.Started, g.Enabled, g.Broken)
		}
		all = append(all, line)
	}
	return all
}

// checkNegotiated checks that each card has what it is there for.
func (r *reconnectRig) checkNegotiated(t *testing.T) {
	t.Helper()
	for i, v := range r.vhosts(t) {
		k, whole := reconnectCards[i], 0
		for _, f := range []string{"VERSION_1", "MRG_RXBUF", "CSUM", "GUEST_CSUM", "HOST_TSO4", "GUEST_TSO4"} {
			if !slices.Contains(v.FeatureNames, f) {
				t.Errorf("%s: %s is not in use, of %v", k.name, f, v.FeatureNames)
			}
		}
		for _, g := range v.Rings {
			if g.Started && g.Enabled && g.Broken == "" && g.Format == k.format {
				whole++
			}
		}
		if whole != 2*k.pairs || v.HeaderBytes != 12 {
			t.Errorf("%s: %d rings in use, headers of %d bytes: %+v", k.name, whole, v.HeaderBytes, v.Rings)
		}
		if len(v.Errors)+len(v.Refused) != 0 {
			t.Errorf("%s: errors %v, messages refused %v", k.name, v.Errors, v.Refused)
		}
		if link, err := r.vm.Link(fmt.Sprint("eth", i)); err != nil || link.Statistics["rx_errors"]+link.Statistics["rx_dropped"] != 0 {
			t.Errorf("%s: the guest's card: %+v, %v", k.name, link, err)
		}
	}
}
