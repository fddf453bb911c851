package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/lab"
)

// TestShortMatrix plays the short form.
func TestShortMatrix(t *testing.T) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	l := lab.ForTest(t)
	cells := shortMatrix()
	rep := newReport(len(cells))
	err = play(l, bin, cells, rep)
	rep.finish(l.Elapsed())
	var table bytes.Buffer
	rep.print(&table)
	t.Log(table.String())
	if err != nil || !rep.OK {
		t.Errorf("not all cells passed: %v", err)
	}
}

func TestMatrix(t *testing.T) {
	count := map[driver]int{}
	names := map[string]bool{}
	for _, c := range matrix() {
		count[c.Driver]++
		names[c.String()] = true
	}
	if count[qemuLinux] != 24 || count[virtioUser] != 8 || len(names) != 32 {
		t.Fatalf("%v, %d names: want 24 of QEMU and 8 of virtio_user, all different", count, len(names))
	}
	want, have := values(matrix()), values(shortMatrix())
	for v := range want {
		if !have[v] {
			t.Errorf("the short form has no cell with %s", v)
		}
	}
	for _, c := range shortMatrix() {
		if !names[c.String()] {
			t.Errorf("%v is not in the matrix", c)
		}
	}
}

// values are the values of the axes that occur.
func values(cells []cell) map[string]bool {
	all := map[string]bool{}
	for _, c := range cells {
		for axis, v := range map[string]string{
			"ring": c.Ring, "pairs": fmt.Sprint(c.Queues), "offloads": setting(c.Offloads),
			"mergeable": setting(c.Mergeable), "in order": setting(c.InOrder),
		} {
			all[fmt.Sprintf("%s: %s %s", c.Driver, axis, v)] = true
		}
	}
	return all
}

func TestCells(t *testing.T) {
	for _, c := range []struct {
		o    options
		want int
	}{
		{options{}, 32},
		{options{short: true}, len(shortMatrix())},
		{options{only: "^qemu-packed-.*offloads-on"}, 6},
		{options{only: "virtio_user"}, 8},
		{options{only: "virtio_net"}, 0},
		{options{only: "("}, 0},
	} {
		cells, err := c.o.cells()
		if len(cells) != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%+v: %d cells, %v; want %d", c.o, len(cells), err, c.want)
		}
	}
}

// A port that negotiated something else than its cell says is found out.
func TestCheckNegotiated(t *testing.T) {
	c := qemuCell("packed", 2, false, true)
	for _, k := range []struct {
		want string // part of the error; empty: none
		edit func(*hostapi.Vhost)
	}{
		{"", func(*hostapi.Vhost) {}},
		{"ring 1 is split", func(v *hostapi.Vhost) { v.Rings[1].Format = "split" }},
		{"1 of 2 tx rings", func(v *hostapi.Vhost) { v.Rings[1].Enabled = false }},
		{"no MRG_RXBUF", func(v *hostapi.Vhost) { v.FeatureNames = []string{"VERSION_1", "RING_PACKED", "MQ"} }},
		{"unwanted GUEST_TSO4", func(v *hostapi.Vhost) { v.FeatureNames = append(v.FeatureNames, "GUEST_TSO4") }},
		{"headers of 10", func(v *hostapi.Vhost) { v.HeaderBytes = 10 }},
	} {
		v := hostapi.Vhost{Port: "a0", HeaderBytes: 12, FeatureNames: []string{"VERSION_1", "RING_PACKED", "MQ", "MRG_RXBUF", "EVENT_IDX"}}
		for i, direction := range []string{"rx", "tx", "rx", "tx", "rx", "tx"} {
			v.Rings = append(v.Rings, hostapi.Ring{Index: i, Direction: direction, Format: "packed", Started: i < 4, Enabled: i < 4, Packets: 7})
		}
		k.edit(&v)
		err := checkNegotiated(c, v)
		if (err == nil) != (k.want == "") || err != nil && !strings.Contains(err.Error(), k.want) {
			t.Errorf("%q: %v", k.want, err)
		}
	}
}

func TestCheckUsed(t *testing.T) {
	for _, k := range []struct {
		name     string
		fromWire bool
		edit     func([]hostapi.Ring)
		ok       bool
	}{
		{"all used", false, func([]hostapi.Ring) {}, true},
		{"idle rx", false, func(r []hostapi.Ring) { r[0].Packets = 0 }, false},
		{"idle rx, from the wire", true, func(r []hostapi.Ring) { r[0].Packets = 0 }, true},
		{"no rx from the wire", true, func(r []hostapi.Ring) { r[0].Packets, r[2].Packets = 0, 0 }, false},
		{"idle tx", true, func(r []hostapi.Ring) { r[1].Packets = 0 }, false},
		{"idle and off", false, func(r []hostapi.Ring) { r[3] = hostapi.Ring{Index: 3} }, true},
		{"broken and off", true, func(r []hostapi.Ring) { r[3] = hostapi.Ring{Index: 3, Broken: "bad_index"} }, false},
	} {
		var rings []hostapi.Ring
		for i, direction := range []string{"rx", "tx", "rx", "tx"} {
			rings = append(rings, hostapi.Ring{Index: i, Direction: direction, Started: true, Enabled: true, Packets: 7})
		}
		k.edit(rings)
		if err := checkUsed(hostapi.Vhost{Rings: rings}, k.fromWire); (err == nil) != k.ok {
			t.Errorf("%s: %v", k.name, err)
		}
	}
	if checkUsed(hostapi.Vhost{Errors: map[string]uint64{"message_refused": 1}}, false) == nil {
		t.Error("a device that refused a message passed")
	}
}

// A cell counts what it moved itself, not what those before it did.
func TestSince(t *testing.T) {
	before := hostapi.Vhost{Rings: []hostapi.Ring{{Packets: 5, Super: 2}, {Packets: 7}}}
	after := hostapi.Vhost{Rings: []hostapi.Ring{{Packets: 5, Super: 2}, {Packets: 9, Super: 1}}}
	if got := since(after, before).Rings; got[0].Packets != 0 || got[0].Super != 0 || got[1].Packets != 2 || got[1].Super != 1 || after.Rings[1].Packets != 9 {
		t.Errorf("%+v, of %+v", got, after)
	}
}

// Super-segments that are not there, or are where none may be, fail a cell.
func TestCheckSupers(t *testing.T) {
	for _, k := range []struct {
		offloads, across bool
		tx, rx           uint64
		ok               bool
	}{
		{true, false, 3, 3, true}, {true, true, 3, 0, true}, {false, false, 0, 0, true},
		{true, false, 0, 0, false}, {true, false, 3, 0, false}, {true, true, 3, 3, false}, {false, false, 0, 1, false}, {false, true, 1, 0, false},
	} {
		v := hostapi.Vhost{Rings: []hostapi.Ring{{Direction: "rx"}, {Direction: "tx"}, {Direction: "rx", Super: k.rx}, {Direction: "tx", Super: k.tx}}}
		if err := checkSupers(qemuCell("split", 2, k.offloads, true), v, k.across); (err == nil) != k.ok {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

// A datagram that is missing must have been counted where it was dropped, and what was
// dropped before the datagrams, or came nevertheless, explains nothing.
func TestCheckLoss(t *testing.T) {
	before := map[string]int{"host1 tx_full": 5, "a socket": 0}
	for _, k := range []struct {
		name  string
		came  [2]int
		after map[string]int
		lost  int
		want  string // part of the error; empty: none
	}{
		{"all came", [2]int{512, 512}, map[string]int{"host1 tx_full": 5, "a socket": 0}, 0, ""},
		{"counted", [2]int{510, 509}, map[string]int{"host1 tx_full": 9, "a socket": 1}, 5, ""},
		{"not counted", [2]int{511, 512}, map[string]int{"host1 tx_full": 5, "a socket": 0}, 0, "[511 512] came"},
		{"one of two counted", [2]int{511, 511}, map[string]int{"host1 tx_full": 6}, 1, "host1 tx_full:1"},
		{"counted and came", [2]int{512, 512}, map[string]int{"host1 tx_full": 6}, 1, "host1 tx_full:1"},
		{"most counted", [2]int{100, 512}, map[string]int{"host1 tx_full": 417}, 412, "only [100 512]"},
	} {
		lost, err := checkLoss([2]int{512, 512}, k.came, before, k.after)
		if lost != k.lost || (err == nil) != (k.want == "") || err != nil && !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s: lost %d, %v; want %d, %q", k.name, lost, err, k.lost, k.want)
		}
	}
}

// The check of what comes back lets nothing pass but each packet once, in order and
// unchanged.
func TestEchoTakes(t *testing.T) {
	if f := swappedFrame(3); !bytes.Equal(f[:12], append(append([]byte{}, gen.mac...), pmd.mac...)) {
		t.Fatalf("swapped: % x", f[:12])
	}
	for _, x := range []exchange{numberedPackets, icmpEchoes} {
		back := x.back
		for _, k := range []struct {
			name   string
			frames [][]byte
			want   string
		}{
			{"in order", [][]byte{back(0), back(1), back(numFlows), back(numFlows + 1)}, ""},
			{"flows may pass each other", [][]byte{back(1), back(0)}, ""},
			{"twice", [][]byte{back(0), back(0)}, "after packet 0"},
			{"lost", [][]byte{back(0), back(2 * numFlows)}, "lost"},
			{"swapped", [][]byte{back(numFlows), back(0)}, "after packet"},
			{"as it was sent", [][]byte{x.out(0)}, "changed"},
			{"cut", [][]byte{back(5)[:50]}, "changed"},
			{"one bit", [][]byte{append([]byte{back(0)[0] ^ 1}, back(0)[1:]...)}, "changed"},
			{"never sent", [][]byte{back(x.count)}, "changed"},
		} {
			e := newEcho(nil, x)
			e.sent = x.count
			for _, f := range k.frames {
				e.take(f)
			}
			if (e.err == nil) != (k.want == "") || e.err != nil && !strings.Contains(e.err.Error(), k.want) {
				t.Errorf("%s: %v", k.name, e.err)
			}
		}
	}
}

func TestReport(t *testing.T) {
	for _, k := range []struct {
		name string
		errs []error // of the cells played, of two
		end  error
		ok   bool
	}{
		{"all passed", []error{nil, nil}, nil, true},
		{"one failed", []error{nil, errors.New("hash")}, nil, false},
		{"one not played", []error{nil}, nil, false},
		{"ended early", []error{nil, nil}, errors.New("died"), false},
	} {
		r := newReport(2)
		for i, err := range k.errs {
			r.add(matrix()[i], measured{Pings: 80, SameMbits: 10}, time.Second, err)
		}
		if k.end != nil {
			r.addError(k.end)
		}
		r.finish(time.Second)
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
		if back.OK != k.ok || len(back.Cells) != len(k.errs) || back.Cells[0].Ring != "split" || back.Cells[0].Pings != 80 {
			t.Errorf("%s: %s", k.name, data)
		}
		var table bytes.Buffer
		r.print(&table)
		if strings.Contains(table.String(), "FAIL") == k.ok {
			t.Errorf("%s:\n%s", k.name, table.String())
		}
	}
}
