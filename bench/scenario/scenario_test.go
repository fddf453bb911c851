package scenario_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/bench/gen"
	"baton/bench/pcap"
	"baton/bench/peer"
	"baton/bench/report"
	"baton/bench/scenario"
	"baton/bench/topology"
)

func TestFind(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenario.All() {
		if seen[s.Name()] || s.About() == "" {
			t.Errorf("%q stands twice or says nothing of itself", s.Name())
		}
		seen[s.Name()] = true
		if f, err := scenario.Find(s.Name()); err != nil || f.Name() != s.Name() {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
	for _, name := range []string{"", "nothing"} {
		if _, err := scenario.Find(name); err == nil || !strings.Contains(err.Error(), "encap, decap") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, s := range scenario.Sets() {
		if f, err := scenario.FindSet(s.Name); err != nil || len(f.Items) == 0 || f.Runs == 0 || f.Length == 0 {
			t.Errorf("set %s: %+v, %v", s.Name, f, err)
		}
	}
	if _, err := scenario.FindSet("all"); err == nil || !strings.Contains(err.Error(), "standard, quick") {
		t.Errorf("set: %v", err)
	}
}

// What cannot be measured is told before anything is started, with what can be.
func TestOptions_refused(t *testing.T) {
	if err := peer.Check(); err != nil {
		t.Skip(err)
	}
	one := func(name string) []scenario.Item {
		s, err := scenario.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return []scenario.Item{{Scenario: s}}
	}
	for name, want := range map[string]string{"rules": "at most 262144", "decap": "at most 100000 flows", "pvp": "run encap"} {
		o := scenario.Options{DUTCPU: 0, LoadCPU: 1, Runs: 1, Length: time.Second, Flows: []int{1e6}}
		if err := o.Check(one(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s of 1 M flows: %v", name, err)
		}
	}
	for want, change := range map[string]func(*scenario.Options){
		"want 1 to 16777216":           func(o *scenario.Options) { o.Flows = []int{0} },
		"--size 1519: want 64 to 1518": func(o *scenario.Options) { o.Sizes = []report.Size{1519} },
		"--runs 0: want at least one":  func(o *scenario.Options) { o.Runs = 0 },
		"--duration 1ms: want 10ms":    func(o *scenario.Options) { o.Length = time.Millisecond },
		"--duration 2h0m0s: want":      func(o *scenario.Options) { o.Length = 2 * time.Hour },
		"need a CPU each":              func(o *scenario.Options) { o.LoadCPU = 0 },
		"CPU 1000":                     func(o *scenario.Options) { o.LoadCPU = 1000 },
		"baton alone":                  func(o *scenario.Options) { o.Peers = []string{"nobody"} },
		"VPP has no package":           func(o *scenario.Options) { o.Peers = []string{"vpp"} },
	} {
		o := scenario.Options{DUTCPU: 0, LoadCPU: 1, Runs: 1, Length: time.Second}
		change(&o)
		if err := o.Check(nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// A case says what answers, and no system has to forget flows.
func TestRulesVariant(t *testing.T) {
	for r, want := range map[topology.Ruleset]string{
		{Num: 10, Masks: 8}: "10 rules, 8 masks, baton by its cache", {Num: 100_000, Masks: 32}: "100000 rules, 32 masks",
	} {
		if got := scenario.RulesVariant(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if n := scenario.RuleFlows(r); n > r.Num || n > 65536 || n == 0 {
			t.Errorf("%+v: %d flows", r, n)
		}
	}
}

// Nothing is installed: what is missing is told, and what it is for.
func TestOptions_nothingInstalled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, peers := range [][]string{{scenario.OVS}, {scenario.Testpmd}, nil} {
		o := scenario.Options{DUTCPU: 0, LoadCPU: 1, Runs: 1, Length: time.Second, Peers: peers}
		if err := o.Check(nil); err == nil || !strings.Contains(err.Error(), "make packages-lab") || !strings.Contains(err.Error(), "can be run") {
			t.Errorf("%v: %v", peers, err)
		}
	}
	for _, bin := range []string{"dpdk-testpmd", "stdbuf"} {
		if err := os.WriteFile(filepath.Join(dir, bin), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := scenario.Options{DUTCPU: 0, LoadCPU: 1, Runs: 1, Length: time.Second, Peers: []string{scenario.OVS}}
	if err := o.Check(nil); err == nil || !strings.Contains(err.Error(), "can be run: --peer testpmd, --peer \"\"") {
		t.Errorf("testpmd alone: %v", err)
	}
}

// Where huge pages are too few for all peers, those for which they are enough are named, and
// how many would be enough for OVS alone.
func TestTooFew(t *testing.T) {
	both := []string{scenario.Testpmd, scenario.OVS}
	few, ovs, all := 3, scenario.PagesFor(scenario.OVS), scenario.PagesFor(both...)
	for _, c := range []struct {
		peers []string
		free  int
		want  []string
	}{
		{both, ovs, []string{"--peer testpmd,ovs-dpdk needs", "run --peer ovs-dpdk alone, or --peer testpmd, or --peer \"\""}},
		{both, few, []string{"and 3 are free", fmt.Sprintf("run --peer ovs-dpdk alone with %d huge pages (scripts/huge-pages %d), or --peer testpmd", ovs, ovs)}},
		{[]string{scenario.OVS}, few, []string{"--peer ovs-dpdk needs", fmt.Sprintf("scripts/huge-pages %d; without so many run --peer testpmd, or --peer \"\"", ovs)}},
	} {
		err := scenario.TooFew(c.peers, c.free)
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, %d of %d pages: no %q in %v", c.peers, c.free, all, want, err)
			}
		}
	}
}

func TestTestpmdMode(t *testing.T) {
	one := scenario.Stream(topology.VM1, topology.Far1, 1, 64)
	many, imix, zipf, other := one, one, one, scenario.Stream(topology.VM2, topology.Far1, 10, 64)
	many.Flows.Num, imix.IMIX, zipf.Flows.Choice = 1000, true, gen.Zipf
	forward := []gen.Forward{{From: "vm1", To: "vm1", SwapMAC: true}}
	vms := []topology.VM{topology.VM1}
	for want, p := range map[string]scenario.Plan{
		"txonly": {VMs: vms, Load: gen.Load{Streams: []gen.Stream{one}}}, "flowgen": {VMs: vms, Load: gen.Load{Streams: []gen.Stream{many}}},
		"rxonly": {VMs: vms}, "macswap": {VMs: vms, Load: gen.Load{Forwards: forward}},
	} {
		if mode, ok := p.TestpmdMode(); mode != want || !ok {
			t.Errorf("want %s: %q, %v", want, mode, ok)
		}
	}
	for i, s := range [][]gen.Stream{{imix}, {zipf}, {other}, {one, one}} {
		if mode, ok := (&scenario.Plan{VMs: vms, Load: gen.Load{Streams: s}}).TestpmdMode(); ok {
			t.Errorf("%d: %s", i, mode)
		}
	}
}

func TestWriteReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	for _, c := range []struct {
		flows, num int
		size       report.Size
	}{{1, 1024, 64}, {1000, 2000, 1518}, {3000, 3000, report.IMIX}} {
		num, err := scenario.WriteReplay(path, topology.Far1, topology.VM1, c.flows, c.size)
		if err != nil || num != c.num {
			t.Fatalf("%+v: %d, %v", c, num, err)
		}
		frames, err := pcap.Read(path)
		if err != nil || len(frames) != num {
			t.Fatalf("%+v: %d frames, %v", c, len(frames), err)
		}
		seen := map[uint32]bool{}
		for _, f := range frames {
			if c.size != report.IMIX && len(f) != int(c.size)+62 {
				t.Fatalf("%+v: a frame of %d bytes", c, len(f))
			}
			seen[binary.BigEndian.Uint32(f[62+34:])] = true
		}
		if len(seen) != c.flows {
			t.Errorf("%+v: %d flows", c, len(seen))
		}
	}
}

// sent is a tunnel packet as a system under test sends it.
func sent(t *testing.T) []byte {
	t.Helper()
	inner, err := scenario.Numbered(topology.VM1, topology.Far1, 64)
	if err != nil {
		t.Fatal(err)
	}
	f, err := scenario.Tunnelled(topology.VM1, topology.Far1, 0, inner[0])
	if err != nil {
		t.Fatal(err)
	}
	// Tunnelled writes what comes from the far host: turn it round.
	for _, at := range [][3]int{{0, 6, 6}, {26, 30, 4}} {
		a, b, n := at[0], at[1], at[2]
		x := bytes.Clone(f[a : a+n])
		copy(f[a:a+n], f[b:b+n])
		copy(f[b:b+n], x)
	}
	return f
}

// Each bit of the outer headers that matters is looked at.
func TestTunnelFrame(t *testing.T) {
	open := scenario.TunnelFrame(topology.Blue, topology.VM1.ID, topology.Far1.ID)
	inner, err := open(sent(t))
	if err != nil || len(inner) != 64 {
		t.Fatalf("%d bytes, %v", len(inner), err)
	}
	for name, at := range map[string]int{
		"MAC to": 5, "MAC from": 11, "length": 17, "checksum": 25, "address from": 29, "address to": 33, "UDP length": 39,
		"VNI": 48, "option class": 51, "option type": 52, "source port": 55, "destination port": 57, "flags": 59, "command": 61,
	} {
		f := sent(t)
		f[at] ^= 1
		if _, err := open(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f := sent(t)
	binary.BigEndian.PutUint16(f[12:], 0x86dd)
	if _, err := open(f); !errors.Is(err, scenario.ErrForeign) {
		t.Errorf("IPv6: %v", err)
	}
}

func TestPass_judge(t *testing.T) {
	frames := [][]byte{{1}, {2}, {3}}
	p := scenario.Pass{Sent: frames, Open: scenario.PlainFrame}
	if n, err := p.Judge([][]byte{{3}, {1}, {2}}, 3); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	for name, got := range map[string][][]byte{"lost": {{1}, {2}}, "twice": {{1}, {2}, {3}, {3}}, "other": {{1}, {2}, {3}, {4}}} {
		if _, err := p.Judge(got, 10); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := p.Judge(frames, 2); err == nil {
		t.Error("more than were counted: no error")
	}
	p.Replayed = true
	replay := [][]byte{{1}, {2}, {3}, {1}}
	if n, err := p.Judge(replay, 9); err != nil || n != 4 {
		t.Errorf("replayed: %d, %v", n, err)
	}
	p.From, p.To = "nic", "nic" // all that leave are in the file
	if n, err := p.Judge(replay, 4); err != nil || n != 4 {
		t.Errorf("through: %d, %v", n, err)
	}
	for _, counted := range []uint64{3, 5} {
		if _, err := p.Judge(replay, counted); err == nil {
			t.Errorf("through: 4 left, %d counted, no error", counted)
		}
	}
}
