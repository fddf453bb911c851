package lab_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"baton/test/lab"
	"baton/test/lab/guestwire"
)

// bootLimit is generous: TCG needs two seconds on an idle core.
const bootLimit = 60 * time.Second

// transferLimit is for a transfer that hangs: emulated CPUs on a busy machine may take
// any time for one that goes on.
const transferLimit = 5 * time.Minute

// Two guests on one cable of QEMU's own: every operation of the agent, with no
// switch between that could be at fault.
func TestTwoGuestsOnACable(t *testing.T) {
	a, b := cabledGuests(t)
	t.Run("exec", func(t *testing.T) { testExec(t, a) })
	t.Run("ping", func(t *testing.T) { testPing(t, a) })
	t.Run("arp", func(t *testing.T) { testARP(t, a) })
	t.Run("link", func(t *testing.T) { testLink(t, a) })
	t.Run("tcp", func(t *testing.T) {
		const n = 4 << 20
		tr, err := a.SendTCP(b, "10.0.0.2", n, 7, transferLimit)
		must(t, err)
		must(t, tr.Check(n))
		if tr.Sender.SHA256 != tr.Want || tr.Check(n+1) == nil {
			t.Fatalf("%+v", tr)
		}
	})
	t.Run("udp", func(t *testing.T) {
		sent, got, err := b.SendUDP(a, guestwire.UDPSendArgs{Dst: "10.0.0.1", Port: 9, Count: 200, Size: 100, IntervalUs: 1000}, 30*time.Second)
		must(t, err)
		if sent.Sent != 200 || got.Received != 200 || len(got.Lost) != 0 || got.Corrupt+got.Duplicates+got.Reordered != 0 {
			t.Fatalf("sent %+v, received %+v", sent, got)
		}
	})
	t.Run("channels", func(t *testing.T) { testChannels(t, a) })
	t.Run("reboot", func(t *testing.T) { testReboot(t, a, b) })
	t.Run("poweroff", func(t *testing.T) { must(t, b.Poweroff(bootLimit)) })
	t.Run("loss is seen", func(t *testing.T) {
		r, err := a.Ping(guestwire.PingArgs{Dst: "10.0.0.2", Count: 3, IntervalUs: 1000, WaitMs: 100})
		must(t, err)
		if r.Received != 0 || len(r.Lost) != 3 {
			t.Fatalf("pinged a guest that is off: %+v", r)
		}
	})
}

func testARP(t *testing.T, a *lab.Guest) {
	entries, err := a.ARP()
	must(t, err)
	macs := make(map[string]string)
	for _, e := range entries {
		macs[e.IP] = e.MAC
	}
	if macs["10.0.0.2"] != "52:54:00:00:00:0b" || macs["10.0.0.3"] != "" {
		t.Fatalf("neighbours %+v", entries)
	}
}

func testLink(t *testing.T, a *lab.Guest) {
	r, err := a.Link("eth0")
	must(t, err)
	if r.MAC != "52:54:00:00:00:0a" || !r.Carrier || r.MTU != 1400 || r.Statistics["rx_packets"] == 0 {
		t.Fatalf("link %+v", r)
	}
	if _, err := a.Link("eth7"); err == nil {
		t.Fatal("a link that does not exist has a state")
	}
}

func testChannels(t *testing.T, a *lab.Guest) {
	if r, err := a.SetChannels("eth0", 1); err != nil || r.Combined != 1 || r.MaxCombined != 1 {
		t.Fatalf("one pair of one: %+v, %v", r, err)
	}
	if _, err := a.SetChannels("eth0", 2); err == nil {
		t.Fatal("more pairs than the device has")
	}
	if r, err := a.Channels("eth0"); err != nil || r.Combined != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := a.Channels("eth7"); err == nil {
		t.Fatal("channels of a link that does not exist")
	}
}

func testReboot(t *testing.T, a, b *lab.Guest) {
	must(t, a.Reboot(bootLimit))
	if h := a.Hello(); len(h.Links) != 1 {
		t.Fatalf("after a restart: %+v", h)
	}
	must(t, a.Configure(guestwire.NetArgs{Link: "eth0", Addr: "10.0.0.1/24", MTU: 1400}))
	if err := b.Reboot(bootLimit); err == nil {
		t.Fatal("a guest whose QEMU ends at a restart was restarted")
	}
	r, err := a.Ping(guestwire.PingArgs{Dst: "10.0.0.2", Count: 3, IntervalUs: 1000})
	must(t, err)
	if r.Received != 3 {
		t.Fatalf("after a restart: %+v", r)
	}
}

// cabledGuests are two guests, 10.0.0.1 and 10.0.0.2, each on one end of a cable.
func cabledGuests(t *testing.T) (a, b *lab.Guest) {
	t.Helper()
	l := lab.ForTest(t)
	cable := l.Path("cable")
	a = startGuest(t, l, "vma", "52:54:00:00:00:0a", "stream,server=on,addr.type=unix,addr.path="+cable)
	if err := a.WaitSocketFile(cable, bootLimit); err != nil {
		t.Fatal(err)
	}
	b = startGuest(t, l, "vmb", "52:54:00:00:00:0b", "stream,server=off,addr.type=unix,addr.path="+cable)
	for _, g := range []*lab.Guest{a, b} {
		if err := g.WaitReady(bootLimit); err != nil {
			t.Fatal(err)
		}
		l.Logf("%s: Linux %s ready after %d ms of its own time", g.Name(), g.Hello().Kernel, g.Hello().UptimeMs)
		if got := g.Hello().Links; len(got) != 1 || got[0] != "eth0" {
			t.Fatalf("%s: links %v, want eth0", g.Name(), got)
		}
	}
	must(t, a.Configure(guestwire.NetArgs{Link: "eth0", Addr: "10.0.0.1/24", MTU: 1400}))
	must(t, b.Configure(guestwire.NetArgs{Link: "eth0", Addr: "10.0.0.2/24", Gateway: "10.0.0.1"}))
	return a, b
}

func startGuest(t *testing.T, l *lab.Lab, name, mac, netdev string) *lab.Guest {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	must(t, err)
	g, err := l.StartGuest(lab.GuestConfig{Name: name, Reboots: name == "vma", NICs: []lab.NIC{{MAC: hw, Netdev: netdev}}})
	must(t, err)
	return g
}

func testExec(t *testing.T, g *lab.Guest) {
	r, err := g.Exec(5*time.Second, "sh", "-c", "echo out; echo err >&2; exit 3")
	must(t, err)
	if r.Code != 3 || r.Stdout != "out\n" || r.Stderr != "err\n" {
		t.Fatalf("%+v", r)
	}
	if r, err := g.Exec(100*time.Millisecond, "sleep", "60"); err != nil || r.Code != -1 {
		t.Fatalf("a program over its time: %+v, %v", r, err)
	}
	if _, err := g.Exec(time.Second, "no-such-program"); err == nil || !strings.Contains(err.Error(), "guest vma: exec") {
		t.Fatalf("a program that is not there: %v", err)
	}
	if err := g.Call("no-such-operation", nil, time.Second, nil); err == nil {
		t.Fatal("an operation that does not exist is answered")
	}
}

func testPing(t *testing.T, g *lab.Guest) {
	r, err := g.Ping(guestwire.PingArgs{Dst: "10.0.0.2", Count: 100, IntervalUs: 5000, Size: 1000})
	must(t, err)
	if r.Sent != 100 || r.Received != 100 || len(r.Lost) != 0 || r.Duplicates+r.Corrupt+r.SendErrors != 0 {
		t.Fatalf("%+v", r)
	}
	if r.TTL != 64 || r.MinUs <= 0 || r.MinUs > r.AvgUs || r.AvgUs > r.MaxUs {
		t.Fatalf("times or TTL: %+v", r)
	}
	r, err = g.Ping(guestwire.PingArgs{Dst: "10.0.0.3", Count: 3, IntervalUs: 1000, WaitMs: 50})
	must(t, err)
	if r.Received != 0 || len(r.Lost) != 3 {
		t.Fatalf("an address nobody has: %+v", r)
	}
	if _, err := g.Ping(guestwire.PingArgs{Dst: "nowhere", Count: 1}); err == nil {
		t.Fatal("a name is no address")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
