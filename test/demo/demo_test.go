package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/lab"
)

// The example of the source tree gives every way that the demo promises.
func TestPlanOfTheExample(t *testing.T) {
	p, err := readPlan("../../examples/first-light.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.hosts) != 2 || len(p.vms) != 4 {
		t.Fatalf("%d hosts and %d VMs, want 2 and 4", len(p.hosts), len(p.vms))
	}
	places := make(map[string]int)
	for _, a := range p.vms {
		if !a.gateway.IsValid() || a.bits == 0 || a.mtu < 576 || len(a.mac) != 6 {
			t.Errorf("%s: %+v", a.name, a)
		}
		for _, b := range p.vms {
			if a.name != b.name && reachable(a, b) {
				places[place(a, b)]++
			}
		}
	}
	for _, want := range []string{
		"same host, same switch", "across hosts, same switch",
		"same host, through the router", "across hosts, through the router",
	} {
		if places[want] == 0 {
			t.Errorf("no pair of VMs: %s (have %v)", want, places)
		}
	}
	for _, same := range []bool{true, false} {
		if a, b, ok := p.acrossHosts(same); !ok || a.host == b.host || (a.sw == b.sw) != same {
			t.Errorf("acrossHosts(%v) = %s, %s, %v", same, a.name, b.name, ok)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	const base = "kind: Switch\nname: s\n---\nkind: Router\nname: r\n"
	host := func(name, ip string) string { return "---\nkind: Host\nname: " + name + "\nunderlay: " + ip + "/24\n" }
	port := func(name, ip, host string) string {
		return "---\nkind: Port\nname: " + name + "\nswitch: s\nip: " + ip + "\nhost: " + host + "\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"one VM", base + host("h1", "192.0.2.1") + host("h2", "192.0.2.2"), "needs two of each"},
		{"unknown host", base + port("vm1", "10.0.0.1", "h9"), "host h9 is not in the file"},
		{"no subnet", base + host("h1", "192.0.2.1") + port("vm1", "10.0.0.1", "h1"), "length of its subnet"},
		{"no YAML", "kind: [", "not YAML"},
	} {
		file := filepath.Join(t.TempDir(), "net.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPlan(file); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q and the file's name", c.name, err, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	good := check{What: "ping", From: "vm1", To: "vm2", Where: "same host", Unit: "packets", Sent: 50, Received: 50, OK: true}
	bad := check{What: "ping", From: "vm1", To: "vm3", Where: "across hosts", Unit: "packets", Sent: 50, Received: 48}
	for _, c := range []struct {
		name   string
		checks []check
		err    error
		ok     bool
	}{
		{"all good", []check{good}, nil, true},
		{"one lost packets", []check{good, bad}, nil, false},
		{"ended early", []check{good}, errors.New("no boot"), false},
		{"nothing was checked", nil, nil, false},
	} {
		r := newReport()
		r.Checks = append(r.Checks, c.checks...)
		r.finish(time.Second, c.err)
		file := filepath.Join(t.TempDir(), "r.json")
		if err := r.write(file); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var back report
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if back.OK != c.ok || len(back.Checks) != len(c.checks) || (len(back.Errors) > 0) != (c.err != nil) {
			t.Errorf("%s: %s", c.name, data)
		}
		var table bytes.Buffer
		r.print(&table)
		if strings.Contains(table.String(), "FAIL") == c.ok {
			t.Errorf("%s:\n%s", c.name, table.String())
		}
	}
}

func TestIdentitiesCheck(t *testing.T) {
	ids := &identities{
		datapaths: map[uint32]string{1: "blue", 2: "green", 3: "r1"},
		ports: map[netip.Addr]portID{
			netip.MustParseAddr("10.0.1.11"): {1, 7}, netip.MustParseAddr("10.0.1.13"): {1, 9}, netip.MustParseAddr("10.0.2.14"): {2, 4},
		},
		vteps: map[string]bool{"192.168.100.1": true, "192.168.100.2": true},
	}
	packet := func(edit func(*lab.GenevePacket)) lab.GenevePacket {
		p := lab.GenevePacket{
			VNI: 1, Critical: true, UDPDst: []int{6081},
			IPSrc: []string{"192.168.100.1", "10.0.1.11"}, IPDst: []string{"192.168.100.2", "10.0.1.13"},
		}
		p.Options = option(7, 9)
		edit(&p)
		return p
	}
	for _, c := range []struct {
		name, want string
		edit       func(*lab.GenevePacket)
	}{
		{"good", "", func(*lab.GenevePacket) {}},
		{"good through the router", "", func(p *lab.GenevePacket) { p.VNI, p.IPDst[1], p.Options = 2, "10.0.2.14", option(1, 4) }},
		{"no option", "no baton option", func(p *lab.GenevePacket) { p.Options = nil }},
		{"other class", "no baton option", func(p *lab.GenevePacket) { p.Options[0].Class = 1 }},
		{"short data", "no baton option", func(p *lab.GenevePacket) { p.Options[0].Data = p.Options[0].Data[:4] }},
		{"not critical", "critical", func(p *lab.GenevePacket) { p.Critical = false }},
		{"malformed", "malformed", func(p *lab.GenevePacket) { p.Malformed = true }},
		{"unknown VNI", "VNI 0x63", func(p *lab.GenevePacket) { p.VNI = 99 }},
		{"stranger outside", "no host's", func(p *lab.GenevePacket) { p.IPSrc[0] = "192.168.100.9" }},
		{"other port", "6081", func(p *lab.GenevePacket) { p.UDPDst[0] = 4789 }},
		{"other destination id", "port 8", func(p *lab.GenevePacket) { p.Options = option(7, 8) }},
		{"other datapath", "VNI 0x2", func(p *lab.GenevePacket) { p.VNI = 2 }},
		{"other source id", "source port 1", func(p *lab.GenevePacket) { p.Options = option(1, 9) }},
		{"unknown VM", "no VM", func(p *lab.GenevePacket) { p.IPDst[1] = "10.0.1.99" }},
	} {
		got := ids.check(packet(c.edit))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func option(src, dst uint16) []lab.GeneveOption {
	return []lab.GeneveOption{{Class: lab.OptionClass, Type: lab.OptionType, Data: lab.Option{SrcPort: src, DstPort: dst}.Bytes()}}
}
