package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"baton/controlplane/agent"
	"baton/controlplane/openflow"
	"baton/dataplane/flow"
	"baton/dataplane/pipeline"
	"baton/dataplane/worker"
	"baton/hostapi"
	"baton/upgrade/relay"
	"baton/upgrade/wire"
	"baton/vhost/guestmem"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// The fixtures are the sections that a batond of a released version sends, version 1 of each
// kind. They stay for ever: an old batond on some host sends them to the one that its package is
// replaced by. Who changes a format adds a folder for it, and raises the tag's version if this
// program would misunderstand the old one; -update is for a folder that no release has.
const fixtures = "testdata/state-v1"

var update = flag.Bool("update", false, "write the fixtures anew: only before their release")

// readFixture is a fixture's section; files are as many descriptors as it needs.
func readFixture(t *testing.T, name string, tag wire.Tag, files ...int) wire.Section {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return wire.Section{Tag: tag, Payload: b, Files: files}
}

// files are descriptors of /dev/null, the caller's.
func files(t *testing.T, num int) (all []int) {
	t.Helper()
	for range num {
		fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fd)
	}
	return all
}

// This program takes each version 1 that a release has sent.
func TestStateV1Known(t *testing.T) {
	if *update {
		writeFixtures(t)
	}
	for _, tag := range []wire.Tag{{Kind: 1, Version: 1}, {Kind: 2, Version: 1}, {Kind: 3, Version: 1}, {Kind: 4, Version: 1}, {Kind: 5, Version: 1}, {Kind: 6, Version: 1}} {
		k, ok := known()[tag.Kind]
		if !ok || k.Min > 1 || k.Max < 1 {
			t.Errorf("kind %d: version 1 is not taken: %+v", tag.Kind, k)
		}
	}
}

func TestStateV1Setup(t *testing.T) {
	var got setup
	fds, err := find([]wire.Section{readFixture(t, "setup.json", tagSetup, files(t, 5)...)}, tagSetup, &got)
	if err != nil || len(fds) != 5 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	closeAll(fds)
	if want := fixtureSetup(); got.Host != want.Host || got.Device != want.Device || got.Shape != want.Shape || len(got.Ports) != 2 || got.Ports[1] != want.Ports[1] || got.Workers != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStateV1Device(t *testing.T) {
	sec := readFixture(t, "device.json", tagDevice, files(t, 7)...)
	s, handed, err := parseDevice(&sec)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]int{handed.FD})
	defer s.Device.EachFD(func(fd *int) {
		if *fd >= 0 {
			unix.Close(*fd)
		}
	})
	want := fixtureDevice()
	d, w := s.Device, want.Device
	switch {
	case s.Name != want.Name || handed == nil || handed.State != *want.Session:
		t.Errorf("port %s, session %+v", s.Name, handed)
	case d.Peer != w.Peer || d.Offered != w.Offered || d.Pinned != w.Pinned || d.PinPeer != w.PinPeer || d.Features != w.Features || d.Protocol != w.Protocol:
		t.Errorf("features of %+v, want %+v", d, w)
	case !d.Acked || !d.Spoken || !d.Connected || d.Recalled || d.Status != w.Status || d.MTU != w.MTU || d.Disconnects != 3 || d.RecallCount != 4:
		t.Errorf("got %+v, want %+v", d, w)
	case len(d.Regions) != 1 || d.Regions[0].Region != w.Regions[0].Region || d.Regions[0].FD < 0:
		t.Errorf("regions %+v, want %+v", d.Regions, w.Regions)
	case len(d.Rings) != 2:
		t.Errorf("%d rings", len(d.Rings))
	}
	for i := range d.Rings {
		got, want := d.Rings[i], w.Rings[i]
		if got.Kick < 0 || got.Call < 0 || got.Err >= 0 {
			t.Errorf("ring %d: descriptors %d, %d, %d", i, got.Kick, got.Call, got.Err)
		}
		got.Kick, got.Call, got.Err = want.Kick, want.Call, want.Err
		if got != want {
			t.Errorf("ring %d: %+v, want %+v", i, got, want)
		}
	}
}

// recorder is the agent's target: it keeps what is applied.
type recorder struct {
	agent.Target
	pipe *pipeline.Pipeline
}

func (r recorder) Apply(c flow.Change) error {
	_, err := r.pipe.Apply(c)
	return err
}

// The rules, and the counters that belong to them.
func TestStateV1Rules(t *testing.T) {
	pipe := pipeline.New()
	a, err := agent.New(agent.Config{Host: "host1", Target: recorder{pipe: pipe}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Import(readFixture(t, "rules.bin", tagRules).Payload); err != nil {
		t.Fatal(err)
	}
	s := pipe.Snapshot()
	b, ok := s.Binding("vm1")
	if rules := s.Rules(); len(rules) != 2 || !ok || b != fixtureRules().SetBindings[0] || len(s.Neighbours()) != 1 {
		t.Fatalf("%d rules, binding %+v, %d neighbours", len(rules), b, len(s.Neighbours()))
	}
	num, err := pipe.RestoreCounters(readFixture(t, "credits.bin", tagCredits).Payload)
	if err != nil || num != 1 {
		t.Fatalf("counters of %d rules, %v", num, err)
	}
	for _, r := range s.Rules() {
		packets, bytes := pipe.Counters().Load(r.Ref)
		if r.Cookie == 7 && (packets != 1000 || bytes != 64000) {
			t.Errorf("rule 7: %d packets, %d bytes", packets, bytes)
		}
	}
}

func TestStateV1Counters(t *testing.T) {
	var got counters
	if _, err := find([]wire.Section{readFixture(t, "counters.json", tagCounters)}, tagCounters, &got); err != nil {
		t.Fatal(err)
	}
	p := got.Pool.Ports["vm1"]
	if p.RxPackets != 1 || p.TxBytes != 4 || p.Generated != 5 || p.Drops["tx_full"] != 6 || got.Pool.Gone.RxPackets != 7 || got.Uptime != 12.5 || got.Upgrade.Binary != "/usr/sbin/batond" {
		t.Errorf("got %+v", got)
	}
}

// What is sent with another number of descriptors is refused, and all are closed.
func TestStateV1Descriptors(t *testing.T) {
	for _, num := range []int{0, 6, 8} {
		sec := readFixture(t, "device.json", tagDevice, files(t, num)...)
		if _, _, err := parseDevice(&sec); err == nil {
			t.Errorf("%d descriptors: taken", num)
		}
	}
}

func fixtureSetup() setup {
	return setup{
		Host: "host1", Device: "0000:03:02.0", Workers: 2, Ports: []setupPort{{"vm1", 1}, {"vm2", 2}},
		Shape: relay.Shape{Workers: [2]int{2, 2}, Ports: 2, Ring: relay.DefaultRing},
	}
}

func fixtureDevice() deviceState {
	ring := netdev.RingState{Num: 256, Desc: 0x7f0000000000, Avail: 0x7f0000001000, Used: 0x7f0000002000, HaveAddr: true, Kick: 0, Call: 0, Err: -1}
	return deviceState{Name: "vm1", Session: &proto.State{ProtocolFeatures: 0x1a03f}, Device: netdev.State{
		Peer: "qemu", Offered: 0x57020bb8b, Pinned: 0x170000000, PinPeer: "qemu", Features: 0x170000000, Protocol: 0x1a03f,
		Acked: true, Spoken: true, Status: 0xf, MTU: 1538, Connected: true, ReqFD: 0,
		Regions: []netdev.RegionState{{Region: guestmem.Region{GuestAddr: 0, UserAddr: 0x7f0000000000, Size: 1 << 28}}},
		Rings:   []netdev.RingState{ring, ring}, Disconnects: 3, RecallCount: 4,
	}}
}

func fixtureRules() flow.Change {
	next := []flow.Action{flow.Goto(pipeline.TableLSPTraceIngressIn)}
	return flow.Change{
		Replace:       true,
		SetRules:      []flow.Rule{{RuleID: flow.RuleID{Table: 0, Priority: 10}, Cookie: 7, Actions: next}, {RuleID: flow.RuleID{Table: 0, Priority: 20}, Cookie: 8, Actions: next}},
		SetBindings:   []flow.Binding{{Name: "vm1", Number: flow.LogicalPort(1001, 11), MAC: flow.MAC{2, 0xba, 10, 0, 1, 11}, MTU: 1500}},
		SetNeighbours: []flow.Neighbour{{Host: "host2", IP: 0xc0a86402, MAC: flow.MAC{2, 0x62, 192, 168, 100, 2}}},
	}
}

// writeFixtures writes them anew.
func writeFixtures(t *testing.T) {
	t.Helper()
	write := func(name string, b []byte, err error) {
		if err = errors.Join(err, os.WriteFile(filepath.Join(fixtures, name), b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	text := func(name string, v any) {
		b, err := json.MarshalIndent(v, "", " ")
		write(name, append(b, '\n'), err)
	}
	text("setup.json", fixtureSetup())
	text("device.json", fixtureDevice())
	text("pair.json", pairState{"192.168.100.1/24", "192.168.100.2"})
	text("counters.json", counters{
		Pool: worker.Carried{
			Ports: map[string]worker.CarriedTotals{"vm1": {RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4, Generated: 5, Drops: map[string]uint64{"tx_full": 6}}},
			Gone:  worker.CarriedTotals{RxPackets: 7},
		}, Uptime: 12.5, Upgrade: hostapi.Upgrade{State: hostapi.UpgradeRunning, From: "batond 0.1.0", Binary: "/usr/sbin/batond", Ports: []hostapi.UpgradePort{{Name: "vm1", Phase: hostapi.UpgradePortMoved}}},
	})
	c := fixtureRules()
	b, err := openflow.EncodeCheckpoint("host1", 42, &c)
	write("rules.bin", b, err)
	pipe := pipeline.New()
	if _, err := pipe.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, r := range pipe.Snapshot().Rules() {
		if r.Cookie == 7 {
			pipe.Counters().Add(r.Ref, 1000, 64000)
		}
	}
	write("credits.bin", pipe.ExportCounters(), nil)
}

// What a gate had for a guest without room was counted as sent, and is not.
func TestCountersLose(t *testing.T) {
	c := counters{Pool: worker.Carried{Ports: map[string]worker.CarriedTotals{"vm1": {TxPackets: 10}, "vm2": {TxPackets: 5}}}}
	c.Upgrade.Ports = []hostapi.UpgradePort{{Name: "vm1", Lost: new(uint64(3))}, {Name: "vm2"}, {Name: "gone", Lost: new(uint64(1))}}
	c.lose()
	if p := c.Pool.Ports; len(p) != 2 || p["vm1"].TxPackets != 7 || p["vm1"].Drops["tx_full"] != 3 || p["vm2"].TxPackets != 5 || len(p["vm2"].Drops) != 0 {
		t.Errorf("%+v", p)
	}
}
