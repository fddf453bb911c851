package model_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/controlplane/model"
)

// check parses text and validates all of it together, as a first apply does.
func check(text string) error {
	docs, err := model.Parse("f.yaml", []byte(text))
	if err != nil {
		return err
	}
	if ps := model.Duplicates(docs); len(ps) > 0 {
		return ps
	}
	s := model.NewState()
	var refs []model.Ref
	for _, d := range docs {
		s.Set(d.Object)
		refs = append(refs, d.Object.Ref())
	}
	return model.Validate(s, refs).Locate(docs).Err()
}

func TestExampleIsValid(t *testing.T) {
	text, err := os.ReadFile("../../examples/first-light.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := check(string(text)); err != nil {
		t.Error(err)
	}
}

// ground is a small network to stand on: lines 1 to 21.
const ground = `kind: Host
name: h1
underlay: 192.168.0.1/24
---
kind: Switch
name: blue
vni: 7
---
kind: Router
name: r1
---
kind: Port
name: gw
switch: blue
router: r1
ip: 10.0.1.1/24
---
kind: Port
name: vm1
switch: blue
ip: 10.0.1.11
---
`

// problems are documents and what is said of them.
var problems = []struct{ name, text, want string }{
	{"tab", "kind: Host\n\tname: x\n", "f.yaml:2: not YAML: found a tab character that violates indentation"},
	{"empty", "# nothing\n", "f.yaml: no objects in it; write at least kind: and name:"},
	{"list", "- kind: Host\n", "f.yaml:1: a document is a mapping with kind: and name:, not a list"},
	{"no kind", "name: x\n", "f.yaml:1: kind: missing; write one of Host, Switch, Router, Port, Route"},
	{"bad kind", "name: x\nkind: Swich\n", `f.yaml:2: kind: "Swich" is none of Host, Switch, Router, Port, Route`},
	{"no name", "kind: Switch\n", "f.yaml:1: name: missing; every object has a name"},
	{"unknown key", "kind: Switch\nname: s\nvin: 3\n", "f.yaml:3: switch s: vin: unknown key; there are kind, name, vni, status"},
	{"unknown inner key", "kind: Host\nname: h\nunderlay: 10.0.0.1/8\ngateway: {ip: 10.0.0.2, mak: 2}\n",
		"f.yaml:4: host h: gateway.mak: unknown key; there are ip, mac"},
	{"key twice", "kind: Switch\nname: s\nvni: 3\nvni: 4\n", "f.yaml:4: switch s: vni: given twice; keep one"},
	{"list for value", "kind: Port\nname: p\nip: [1]\nswitch: s\n", "f.yaml:3: port p: ip: want a single value, not a list; leave the key out for the default"},
	{"null", "kind: Port\nname: p\nip:\nswitch: s\n", "f.yaml:3: port p: ip: want a single value, not nothing; leave the key out for the default"},
	{"alias", "kind: Port\nname: &x p\nswitch: *x\n", "f.yaml:3: port p: switch: want a single value, not an alias (baton reads none); leave the key out for the default"},
	{"bad number", "kind: Switch\nname: s\nvni: 16777216\n", `f.yaml:3: switch s: vni: "16777216" is no number from 1 to 16777215`},
	{"zero id", "kind: Port\nname: p\nid: 0\n", `f.yaml:3: port p: id: "0" is no number from 1 to 65535`},
	{"bad MAC", "kind: Port\nname: p\nmac: 02-00\n", `f.yaml:3: port p: mac: "02-00" is no Ethernet address; write it as 02:00:00:00:01:0b`},
	{"bad IP", "kind: Port\nname: p\nip: 10.0.1\n", `f.yaml:3: port p: ip: "10.0.1" is no IP address; write it as 10.0.1.11`},
	{"bad prefix", "kind: Route\nname: x\nprefix: 10.0.0.0\n", `f.yaml:3: route x: prefix: "10.0.0.0" is no IP prefix; write it as 10.0.0.0/8`},
	{"prefix length", "kind: Port\nname: p\nip: 10.0.0.1/33\n", `f.yaml:3: port p: ip: "10.0.0.1/33" is no IP address with a prefix length; write it as 10.0.1.1/24`},
	{"several at once", "kind: Switch\nname: s\na: 1\n---\nkind: Switch\nname: t\nb: 1\n",
		"f.yaml:3: switch s: a: unknown key; there are kind, name, vni, status\nf.yaml:7: switch t: b: unknown key; there are kind, name, vni, status"},
	{"the NIC's name", "kind: Port\nname: underlay\nswitch: blue\nip: 10.0.1.50\n", `f.yaml:2: port underlay: name: "underlay" is the name of each host's NIC; choose another` + "\n" + `f.yaml:3: port underlay: switch: there is no switch "blue"; make it first, or in the same file`},
	{"bad name", "kind: Switch\nname: Blue_1\n", `f.yaml:2: switch Blue_1: name: "Blue_1" is no name; use 1 to 63 of a-z, 0-9 and -, with no - at either end`},
	{"same name", "kind: Switch\nname: s\n---\nkind: Switch\nname: s\n", "f.yaml:5: switch s: name: given twice, first at f.yaml:2; keep one"},
	{"underlay without length", "kind: Host\nname: h\nunderlay: 10.0.0.1\n", "f.yaml:3: host h: underlay: 10.0.0.1 lacks the length of its subnet; write it as 10.0.0.1/24"},
	{"no underlay", "kind: Host\nname: h\n", "f.yaml:1: host h: underlay: missing; give an IPv4 address"},
	{"IPv6 underlay", "kind: Host\nname: h\nunderlay: fd00::1/64\n", "f.yaml:3: host h: underlay: fd00::1 is not IPv4; addresses are IPv4 for now"},
	{"network address", "kind: Host\nname: h\nunderlay: 10.0.0.0/24\n", "f.yaml:3: host h: underlay: 10.0.0.0 is the network or broadcast address of 10.0.0.0/24; take one between"},
	{"group MAC", "kind: Host\nname: h\nunderlay: 10.0.0.1/24\nmac: 01:00:5e:00:00:01\n", "f.yaml:4: host h: mac: 01:00:5e:00:00:01 is a group address; the first byte must be even"},
	{"small MTU", "kind: Host\nname: h\nunderlay: 10.0.0.1/24\nmtu: 600\n", "f.yaml:4: host h: mtu: 600 is too small; at least 638 leaves a guest 576 bytes"},
	{"gateway elsewhere", "kind: Host\nname: h\nunderlay: 10.0.0.1/24\ngateway:\n  ip: 10.0.1.1\n",
		"f.yaml:4: host h: gateway.mac: missing; the kernel is not asked for it\nf.yaml:5: host h: gateway.ip: 10.0.1.1 is no other machine in the host's subnet 10.0.0.0/24"},
	{"host IP twice", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.1/16\n", "f.yaml:25: host h2: underlay: 192.168.0.1 is already the underlay address of host h1; give each host its own"},
	{"pair", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.3\n", ""},
	{"pair of one", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.2\n", "f.yaml:26: host h2: alternate: 192.168.0.2 is the host's underlay address; give the second tunnel end point its own, or leave it out"},
	{"pair elsewhere", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.1.3\n", "f.yaml:26: host h2: alternate: 192.168.1.3 is no machine's address in the host's subnet 192.168.0.0/24"},
	{"pair at the edge", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.255\n", "f.yaml:26: host h2: alternate: 192.168.0.255 is no machine's address in the host's subnet 192.168.0.0/24"},
	{"pair with another's", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.1\n", "f.yaml:26: host h2: alternate: 192.168.0.1 is already the underlay address of host h1; give each host its own"},
	{"another's pair", ground + "kind: Host\nname: a2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.1\n", "f.yaml:3: host h1: underlay: 192.168.0.1 is already the underlay address of host a2; give each host its own"},
	{"pair and gateway", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.3\ngateway: {ip: 192.168.0.3, mac: 02:00:00:00:00:01}\n", "f.yaml:26: host h2: alternate: 192.168.0.3 is the gateway's"},
	{"pair with a length", ground + "kind: Host\nname: h2\nunderlay: 192.168.0.2/24\nalternate: 192.168.0.3/24\n", `f.yaml:26: host h2: alternate: "192.168.0.3/24" is no IP address; write it as 10.0.1.11`},
	{"VNI twice", ground + "kind: Router\nname: r2\nvni: 7\n", "f.yaml:25: router r2: vni: 7 is already the id of switch blue; take another, or leave it out to have one allocated"},
	{"IP twice", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.11\n", "f.yaml:26: port vm2: ip: 10.0.1.11 is already the IP of port vm1 on switch blue; take another"},
	{"gateway's IP", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.1\n", "f.yaml:26: port vm2: ip: 10.0.1.1 is already the IP of port gw on switch blue; take another"},
	{"MAC twice", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nmac: 02:ba:0a:00:01:0b\n", "f.yaml:27: port vm2: mac: 02:ba:0a:00:01:0b is already the MAC of port vm1 on switch blue; take another"},
	{"no switch", ground + "kind: Port\nname: vm2\nip: 10.0.1.12\n", "f.yaml:23: port vm2: switch: missing; name one"},
	{"unknown references", ground + "kind: Port\nname: vm2\nswitch: red\nip: 10.0.1.12\nhost: h9\n---\nkind: Port\nname: gw2\nswitch: blue\nrouter: r9\nip: 10.0.2.1/24\n---\nkind: Route\nname: x\nrouter: r9\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.254\n",
		`f.yaml:25: port vm2: switch: there is no switch "red"; make it first, or in the same file
f.yaml:27: port vm2: host: there is no host "h9"; make it first, or in the same file
f.yaml:32: port gw2: router: there is no router "r9"; make it first, or in the same file
f.yaml:37: route x: router: there is no router "r9"; make it first, or in the same file`},
	{"outside", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.2.2\n", "f.yaml:26: port vm2: ip: 10.0.2.2 lies outside the subnets of switch blue (10.0.1.0/24 of port gw); take one inside"},
	{"broadcast", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.255\n", "f.yaml:26: port vm2: ip: 10.0.1.255 is the network or broadcast address of 10.0.1.0/24 (port gw); take one between"},
	{"VM with length", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12/24\n", "f.yaml:26: port vm2: ip: 10.0.1.12/24 has a prefix length; a VM's port takes the address alone, 10.0.1.12"},
	{"router without length", ground + "kind: Port\nname: gw2\nswitch: blue\nrouter: r1\nip: 10.0.2.1\n", "f.yaml:27: port gw2: ip: 10.0.2.1 lacks the length of its subnet, which a router's port needs; write it as 10.0.2.1/24"},
	{"router on a host", ground + "kind: Port\nname: gw2\nswitch: blue\nrouter: r1\nip: 10.0.2.1/24\nhost: h1\n", "f.yaml:28: port gw2: host: a router's port is on every host; leave it out"},
	{"router that moves", ground + "kind: Port\nname: gw2\nswitch: blue\nrouter: r1\nip: 10.0.2.1/24\nmigrateTo: h1\n", "f.yaml:28: port gw2: migrateTo: a router's port is on every host and does not move; leave it out"},
	{"moves from nowhere", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nmigrateTo: h1\n", "f.yaml:27: port vm2: migrateTo: the port is on no host yet; give it host: h1 instead"},
	{"moves nowhere", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nhost: h1\nmigrateTo: h1\n", "f.yaml:28: port vm2: migrateTo: the port is on h1 already; name another host, or leave it out"},
	{"moves to an unknown host", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nhost: h1\nmigrateTo: h9\n", `f.yaml:28: port vm2: migrateTo: there is no host "h9"; make it first, or in the same file`},
	{"moves to a bad name", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.12\nhost: h1\nmigrateTo: H9\n", `f.yaml:28: port vm2: migrateTo: "H9" is no name; use 1 to 63 of a-z, 0-9 and -, with no - at either end`},
	{"subnets overlap", ground + "kind: Port\nname: zz\nswitch: blue\nrouter: r1\nip: 10.0.2.1/16\n", "f.yaml:16: port gw: ip: subnet 10.0.1.0/24 overlaps 10.0.0.0/16 of port zz on router r1; give each port of a router its own subnet"},
	{"multicast IP", ground + "kind: Port\nname: vm2\nswitch: blue\nip: 224.0.0.1\n", "f.yaml:26: port vm2: ip: 224.0.0.1 cannot be the address of one machine"},
	{"next hop nowhere", ground + "kind: Route\nname: x\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.2.1\n", "f.yaml:27: route x: nextHop: 10.0.2.1 is on no subnet of router r1; give the router a port there first"},
	{"next hop itself", ground + "kind: Route\nname: x\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.1\n", "f.yaml:27: route x: nextHop: 10.0.1.1 is the router's own address (port gw); name the machine behind it"},
	{"host bits", ground + "kind: Route\nname: x\nrouter: r1\nprefix: 10.1.2.3/8\nnextHop: 10.0.1.9\n", "f.yaml:26: route x: prefix: 10.1.2.3/8 has bits behind its length; write it as 10.0.0.0/8"},
	{"route twice", ground + "kind: Route\nname: x\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.9\n---\nkind: Route\nname: y\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.8\n",
		"f.yaml:32: route y: prefix: 0.0.0.0/0 is already the prefix of route x on router r1; a router has one route a prefix"},
	{"all is well", ground + "kind: Route\nname: x\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.9\nstatus: {any: [thing]}\n", ""},
}

// TestProblems has every complaint there is, all lines of it.
func TestProblems(t *testing.T) {
	for _, c := range problems {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := check(c.text); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestOthersFaults: what was wrong before is not held against a change elsewhere.
func TestOthersFaults(t *testing.T) {
	docs, err := model.Parse("f", []byte(ground+"kind: Port\nname: vm2\nswitch: blue\nip: 10.0.1.11\n---\nkind: Switch\nname: red\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := model.NewState()
	for _, d := range docs {
		s.Set(d.Object)
	}
	if ps := model.Validate(s, []model.Ref{{Kind: model.KindSwitch, Name: "red"}}); len(ps) != 0 {
		t.Errorf("red is blamed: %v", ps)
	}
	ps := model.Validate(s, []model.Ref{{Kind: model.KindPort, Name: "vm1"}})
	if len(ps) != 1 || ps[0].Ref.Name != "vm1" || ps[0].Other.Name != "vm2" {
		t.Errorf("vm1, which changed, is not blamed: %v", ps)
	}
}

// TestEncodingRoundTrip reads back what it writes, in both encodings.
func TestEncodingRoundTrip(t *testing.T) {
	docs, err := model.Parse("f", []byte(ground+"kind: Host\nname: '1'\nunderlay: 10.0.0.1/24\nmac: 02:11:22:33:44:55\nmtu: 9000\ngateway: {ip: 10.0.0.2, mac: 02:00:00:00:00:01}\n---\nkind: Route\nname: true\nrouter: r1\nprefix: 0.0.0.0/0\nnextHop: 10.0.1.9\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		text, err := model.EncodeYAML(d.Object)
		if err != nil {
			t.Fatal(err)
		}
		back, err := model.Parse("back", text)
		if err != nil || !model.Equal(back[0].Object, d.Object) {
			t.Errorf("%s as YAML came back as %+v, %v:\n%s", d.Object.Ref(), back, err, text)
		}
		text, err = model.EncodeJSON(d.Object)
		if err != nil {
			t.Fatal(err)
		}
		o, err := model.DecodeJSON(text)
		if err != nil || !model.Equal(o, d.Object) {
			t.Errorf("%s as JSON came back as %+v, %v:\n%s", d.Object.Ref(), o, err, text)
		}
	}
}

func TestParseKind(t *testing.T) {
	for text, want := range map[string]model.Kind{"port": model.KindPort, "Ports": model.KindPort, "SWITCHES": model.KindSwitch, "hosts": model.KindHost, "volcano": ""} {
		if got, ok := model.ParseKind(text); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v", text, got, ok)
		}
	}
}

// FuzzParse: no input panics; what is read can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(ground))
	f.Add([]byte("kind: Host\nname: &a [*a]\n"))
	f.Add([]byte("{\"kind\": \"Port\", \"ip\": {\"a\": 1}}"))
	f.Add([]byte("kind: Host\ngateway: 3\nname: {}\n---\n---\n- x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := model.Parse("f", data)
		if err != nil {
			if docs != nil {
				t.Fatal("documents and an error")
			}
			return
		}
		s := model.NewState()
		var refs []model.Ref
		for _, d := range docs {
			s.Set(d.Object)
			refs = append(refs, d.Object.Ref())
		}
		if len(model.Validate(s, refs)) > 0 {
			return
		}
		for _, o := range s.List("") {
			text, err := model.EncodeYAML(o)
			if err != nil {
				t.Fatal(err)
			}
			back, err := model.Parse("back", text)
			if err != nil || !model.Equal(back[0].Object, o) {
				t.Fatalf("%+v came back as %+v, %v", o, back, err)
			}
		}
	})
}

// FuzzDecodeJSON: no value from etcd panics, and what is accepted is sound by itself.
func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"kind":"Port","name":"vm1","switch":"blue","ip":"10.0.1.11","status":{"id":3,"mac":"02:00:00:00:00:01"}}`))
	f.Add([]byte(`{"kind":"Host","name":"h","underlay":"10.0.0.1/24","gateway":{"ip":"10.0.0.2","mac":"02:00:00:00:00:01"}}`))
	f.Add([]byte(`{"kind":"Route","name":"x","prefix":"::/0","nextHop":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := model.DecodeJSON(data)
		if err != nil {
			return
		}
		if n := o.Ref().Name; n == "" || strings.ContainsAny(n, "/.\x00") {
			t.Fatalf("accepted the name %q", n)
		}
	})
}
