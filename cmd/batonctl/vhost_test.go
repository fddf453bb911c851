package main

import (
	"encoding/json"
	"strings"
	"testing"

	"baton/hostapi"
)

// vhostHost answers with three devices: one that works, one that is broken, and one
// whose front end holds up a message.
type vhostHost struct{ hostapi.Source }

func (vhostHost) Vhosts() ([]hostapi.Vhost, error) {
	yes, no := true, false
	avail, used := uint16(17), uint16(250)
	ring := func(i int, direction string) hostapi.Ring {
		return hostapi.Ring{Index: i, Direction: direction, Format: "packed", Size: 256, Started: true, Enabled: true,
			LastAvail: &avail, AvailWrap: &yes, LastUsed: &used, UsedWrap: &no, Packets: 1000, Super: 40, Partial: 2, Kicks: 9, Calls: 8, Suppressed: 7}
	}
	up := hostapi.Vhost{Port: "vm1", Socket: "/run/vm1.sock", Mode: "client", Connected: true, Up: true, QueuePairs: 4, Active: 1, MTU: 1538,
		Offered: "0x800000801", OfferedNames: []string{"CSUM", "HOST_TSO4", "IN_ORDER"}, Features: "0x801", FeatureNames: []string{"CSUM", "HOST_TSO4"},
		Protocol: "0x9", ProtocolNames: []string{"MQ", "REPLY_ACK"}, HeaderBytes: 12, Status: "0xf", Pinned: true,
		Rings:   []hostapi.Ring{ring(0, "rx"), ring(1, "tx")},
		Regions: []hostapi.Region{{GuestAddr: "0x0", UserAddr: "0x7f0000000000", Size: 1 << 31, FileOffset: 0xc0000, PageSize: 2 << 20}},
		Log:     hostapi.DirtyLog{Active: true, Bytes: 65536}, Disconnects: 3, Refused: map[string]uint64{"SET_MEM_TABLE": 5}}
	broken := up
	broken.Port, broken.Up, broken.Log = "vm2", false, hostapi.DirtyLog{}
	broken.Rings = []hostapi.Ring{ring(0, "rx"), ring(1, "tx")}
	broken.Rings[1].Broken, broken.Rings[1].Errors = "bad_head", map[string]uint64{"too_big": 4, "full": 2}
	broken.Rings[1].LastAvail, broken.Rings[1].AvailWrap, broken.Rings[1].LastUsed, broken.Rings[1].UsedWrap = nil, nil, nil, nil
	return []hostapi.Vhost{up, broken, {Port: "vm3", Connected: true, Busy: true, QueuePairs: 1}}, nil
}

// vhost runs a vhost command against vhostHost.
func vhost(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path := t.TempDir() + "/s"
	s, err := hostapi.Serve(path, vhostHost{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	root := newRoot()
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"--host-socket", path, "vhost"}, args...))
	err = root.Execute()
	return out.String(), err
}

// words has one space where a table has many.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestVhostList(t *testing.T) {
	out, err := vhost(t, "list")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"vm1 yes up, migrating 1 of 4 packed tx tso 1000 1000 client /run/vm1.sock",
		"vm2 yes ring 1 broken: bad_head 1 of 4",
		"vm3 yes busy 0 of 1",
	} {
		if !strings.Contains(words(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestVhostShow(t *testing.T) {
	out, err := vhost(t, "show", "vm1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"features 0x801 CSUM HOST_TSO4", "not acknowledged IN_ORDER", "protocol features 0x9 MQ REPLY_ACK", "mtu 1538",
		"features pinned yes", "driver status 0xf ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK", "dirty log in use, 64 KiB", "disconnects 3",
		"refused SET_MEM_TABLE 5", "1 sends running packed 256 17/1 250/0 1000 40 2 9 8 7 -",
		"0x0 2 GiB 0x7f0000000000 0xc0000 2 MiB",
	} {
		if !strings.Contains(words(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, err = vhost(t, "show", "vm2"); err != nil || !strings.Contains(words(out), "broken: bad_head packed 256 unknown unknown") || !strings.Contains(out, "full 2, too_big 4") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = vhost(t, "show", "vm3"); err != nil || !strings.Contains(out, "holds up one of its own messages") || strings.Contains(out, "RING") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVhostShow_JSON(t *testing.T) {
	out, err := vhost(t, "show", "vm1", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"port", "features", "feature_names", "features_offered", "protocol_feature_names", "rings", "regions", "dirty_log", "refused", "disconnects"} {
		if _, ok := v[key]; !ok {
			t.Errorf("no key %q", key)
		}
	}
}

// The error for a port that is not here names those that are.
func TestVhostShow_Unknown(t *testing.T) {
	if _, err := vhost(t, "show", "vm9"); err == nil || err.Error() != "no vhost port vm9 on this host: there are vm1, vm2, vm3" {
		t.Errorf("error %v", err)
	}
}
