package e2e_test

import (
	"context"
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

// Limits for guests of emulated CPUs; reaching one is a failure.
const (
	guestBoot = 90 * time.Second
	guestWait = 30 * time.Second
)

// overlayMTU is what an underlay of 1600 bytes leaves for a guest.
const overlayMTU = 1600 - 62

// card is one kind of network card; each guest has all of them, as eth0 to eth3.
type card struct {
	pairs  int
	mtu    int      // told to the guest by QEMU's host_mtu; 0: not told
	device string   // QEMU's properties
	off    []string // features that must not be in use; the other three must be
}

// cards have each pair of settings of the three ring features once: what breaks
// with one of them, or with two together, is seen.
var cards = []card{
	{pairs: 2, mtu: overlayMTU},
	{pairs: 1, device: "indirect_desc=off,event_idx=off", off: []string{"INDIRECT_DESC", "EVENT_IDX"}},
	{pairs: 1, mtu: overlayMTU, device: "mrg_rxbuf=off,event_idx=off", off: []string{"MRG_RXBUF", "EVENT_IDX"}},
	{pairs: 2, device: "mrg_rxbuf=off,indirect_desc=off", off: []string{"MRG_RXBUF", "INDIRECT_DESC"}},
}

// machine is a QEMU guest: card i is eth<i>, port <name><i>, on switch s<i>.
type machine struct {
	*lab.Guest
	t     *testing.T
	name  string
	last  int    // of the addresses
	place string // name of the host
	cards []card
	host  *cluster.Host
	mode  string // of the host's vhost sockets

	memory    int  // MiB; 0: the lab's usual
	mayReboot bool // else its restart, as by a panic, fails the test
	runs      int  // times that QEMU was started
}

func (m *machine) port(i int) endpoint {
	return endpointOf(fmt.Sprint(m.name, i), fmt.Sprintf("10.0.%d.%d", i, m.last))
}

func (m *machine) ports() (names []string) {
	for i := range m.cards {
		names = append(names, m.port(i).Name)
	}
	return names
}

// start starts QEMU and returns at once.
func (m *machine) start(l *lab.Lab) {
	m.t.Helper()
	m.runs++
	cfg := lab.GuestConfig{Name: fmt.Sprintf("%s-run%d", m.name, m.runs), CPUs: 2, MemoryMiB: m.memory, Reboots: m.mayReboot}
	for i, c := range m.cards {
		p := m.port(i)
		cfg.NICs = append(cfg.NICs, lab.NIC{
			MAC: p.MAC, VhostSocket: m.host.VhostSocket(p.Name), Client: m.mode == "server",
			QueuePairs: c.pairs, MTU: c.mtu, Device: c.device,
		})
	}
	var err error
	m.Guest, err = l.StartGuest(cfg)
	must(m.t, err)
}

// configure gives the guest its addresses and waits for its ports.
func (m *machine) configure() {
	m.t.Helper()
	must(m.t, m.WaitReady(guestBoot))
	for i := range m.cards {
		must(m.t, m.Configure(guestwire.NetArgs{Link: fmt.Sprint("eth", i), Addr: m.port(i).IP.String() + "/24"}))
	}
	must(m.t, m.host.WaitPorts(m.ports()...))
}

// shell runs commands in the guest.
func (m *machine) shell(commands string) {
	m.t.Helper()
	r, err := m.Exec(guestWait, "sh", "-e", "-c", commands)
	must(m.t, err)
	if r.Code != 0 {
		m.t.Fatalf("%s: %s: exit code %d: %s%s", m.name, commands, r.Code, r.Stdout, r.Stderr)
	}
}

func (m *machine) link(i int) guestwire.LinkResult {
	m.t.Helper()
	r, err := m.Link(fmt.Sprint("eth", i))
	must(m.t, err)
	return r
}

// vhost is the host's view of card i.
func (m *machine) vhost(i int) hostapi.Vhost {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guestWait)
	defer cancel()
	all, err := m.host.API.Vhosts(ctx)
	must(m.t, err)
	at := slices.IndexFunc(all, func(v hostapi.Vhost) bool { return v.Port == m.port(i).Name })
	if at < 0 {
		m.t.Fatalf("no vhost device %s", m.port(i).Name)
	}
	return all[at]
}

// enabled is how many of a card's receive rings the host may send to.
func (m *machine) enabled(i int) (n int) {
	m.t.Helper()
	for _, r := range m.vhost(i).Rings {
		if r.Direction == "rx" && r.Started && r.Enabled && r.Broken == "" {
			n++
		}
	}
	return n
}

// checkFeatures checks what each card has negotiated.
func (m *machine) checkFeatures() {
	m.t.Helper()
	for i, c := range m.cards {
		v := m.vhost(i)
		for _, f := range []string{"MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX"} {
			if slices.Contains(v.FeatureNames, f) == slices.Contains(c.off, f) {
				m.t.Errorf("%s: %s is in use: %v, of %v", v.Port, f, !slices.Contains(v.FeatureNames, f), v.FeatureNames)
			}
		}
		if !slices.Contains(v.FeatureNames, "VERSION_1") || v.HeaderBytes != 12 {
			m.t.Errorf("%s: headers of %d bytes, features %v", v.Port, v.HeaderBytes, v.FeatureNames)
		}
		if n := m.enabled(i); n != c.pairs {
			m.t.Errorf("%s: %d queue pairs enabled, want %d", v.Port, n, c.pairs)
		}
	}
}

// exchange pings and sends bulk TCP both ways over the given cards; every byte counts.
func exchange(t *testing.T, a, b *machine, bytes int64, which ...int) {
	t.Helper()
	for _, i := range which {
		for _, size := range []int{8, 1400} {
			r, err := a.Ping(guestwire.PingArgs{Dst: b.port(i).IP.String(), Count: 10, IntervalUs: 2000, Size: size, WaitMs: 5000})
			must(t, err)
			if r.Received != r.Sent || r.Corrupt+r.Duplicates+r.SendErrors != 0 {
				t.Errorf("eth%d: ping of %d bytes: %+v", i, size, r)
			}
		}
		for n, way := range [][2]*machine{{a, b}, {b, a}} {
			tr, err := way[0].SendTCP(way[1].Guest, way[1].port(i).IP.String(), bytes, uint64(2*i+n), guestWait)
			must(t, err)
			if err := tr.Check(bytes); err != nil {
				t.Errorf("eth%d: %s to %s: %v", i, way[0].name, way[1].name, err)
			}
		}
	}
}

// guestNetwork is a switch for each card, and all machines' ports.
func guestNetwork(machines ...*machine) string {
	docs := []string{
		"{kind: Host, name: host1, underlay: 192.168.100.1/24, mtu: 1600}",
		"{kind: Host, name: host2, underlay: 192.168.100.2/24, mtu: 1600}",
	}
	for i := range cards {
		docs = append(docs, fmt.Sprintf("{kind: Switch, name: s%d, vni: %d}", i, 2001+i))
	}
	for _, m := range machines {
		for i := range m.cards {
			p := m.port(i)
			docs = append(docs, fmt.Sprintf("{kind: Port, name: %s, switch: s%d, ip: %v, host: %s, id: %d}", p.Name, i, p.IP, m.place, m.last))
		}
	}
	return strings.Join(docs, "\n---\n")
}
