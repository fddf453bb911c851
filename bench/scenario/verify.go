package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"baton/bench/pcap"
	"baton/bench/peer"
	"baton/bench/report"
	"baton/bench/suite"
	"baton/bench/topology"
)

// Pass is a separate run in which each packet that leaves is looked at, so that nobody is
// fast by doing less. From sends frames of a file (a VM's name, or the NIC if the plan's
// device replays them), and what arrives at To is kept in a file. From the NIC to the NIC
// they pass the plan's VMs, which do what the plan's load does.
type Pass struct {
	From, To string
	Sent     [][]byte // frames, told apart by their content
	Open     func(frame []byte) (inner []byte, err error)
	Replayed bool // the NIC sends them again and again
}

// through says whether packets come from the NIC and leave by it.
func (c *Pass) through() bool { return c.From == nic && c.To == nic }

// nic is the NIC's name in a Pass.
const nic = "nic"

// checkFrames is how many frames a pass has: less than a ring holds, so that none may be
// lost.
const checkFrames = 192

// Verify makes the pass on baton and all peers that do a switch's work; once in a run.
//
//	error: names the system and the packet that is not what it should be
func (b *Bench) Verify(ctx context.Context, scenario string, p Plan, c Pass) error {
	if slices.Contains(b.checked, scenario) {
		return nil
	}
	b.checked = append(b.checked, scenario)
	for _, name := range append([]string{report.Baton}, b.Peers...) {
		if name == Testpmd { // it does less, and is there to show how much that is
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := b.verify(name, p, c)
		if err != nil {
			return fmt.Errorf("checked pass of %s, %s: %w", scenario, name, err)
		}
		fmt.Fprintf(b.Log, "%s: checked: %s: %d packets left, all as they should be\n", scenario, name, n)
	}
	return nil
}

// verify makes the pass on one system, and returns how many packets left it.
func (b *Bench) verify(name string, p Plan, c Pass) (num int, err error) {
	b.rigs++
	dir := filepath.Join(b.Dir, fmt.Sprintf("check-%s-%d", name, b.rigs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	in, out := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap")
	if err := pcap.Write(in, c.Sent); err != nil {
		return 0, err
	}
	switch {
	case c.through():
		p.NIC += ",tx_pcap=" + out
	case c.To == nic:
		p.NIC = "net_pcap0,tx_pcap=" + out
	}
	sent, err := b.pass(name, p, c, dir)
	if err != nil {
		return 0, err
	}
	got, err := pcap.Read(out)
	if err != nil {
		return 0, err
	}
	return c.judge(got, sent)
}

// pass lets the frames pass and ends both sides, so that files are written. It returns how
// many packets the system says have left it.
func (b *Bench) pass(name string, p Plan, c Pass, dir string) (sent uint64, err error) {
	r := &suite.Rig{}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.System, err = b.startSystem(name, p, dir); err != nil {
		return 0, err
	}
	if c.through() {
		r.Load, err = b.startLoad(p, dir)
	} else {
		r.Load, err = b.startPassVMs(p, c, dir)
	}
	if err != nil {
		return 0, err
	}
	if err := r.Ready(b.timing(p)); err != nil {
		return 0, err
	}
	if err := r.System.Resume(); err != nil {
		return 0, err
	}
	if err := r.Load.Start(); err != nil {
		return 0, err
	}
	want := uint64(len(c.Sent))
	if c.Replayed { // the VM takes some of what comes, and none is to be missed for ever
		want *= 200
	}
	if err := awaitSent(r.System, want); err != nil {
		return 0, err
	}
	if !c.through() { // what OVS's kernel side sends is counted too, and may stand in for a frame that is under way
		time.Sleep(passSettle)
	}
	if _, err := r.Load.Stop(); err != nil {
		return 0, err
	}
	if c.through() {
		time.Sleep(passSettle)
	}
	n, err := r.System.Counts()
	if c.through() {
		return n.Out, err
	}
	return n.Tx, err
}

// passSettle is how long what is under way takes to leave, with much to spare. Nothing tells
// that it has left: the counts that are compared afterwards do, and a pass that was too short
// fails by them.
const passSettle = 100 * time.Millisecond

// awaitSent waits until the system has sent num packets.
func awaitSent(s suite.System, num uint64) error {
	const limit = 10 * time.Second
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for {
		n, err := s.Counts()
		if err != nil || n.Tx >= num {
			return err
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("%d packets of %d left within %v; %d came in, dropped: %v", n.Tx, num, limit, n.Rx, n.Drops)
		}
	}
}

// startPassVMs starts the VMs, each paired with a file that it sends or writes.
func (b *Bench) startPassVMs(p Plan, c Pass, dir string) (suite.Load, error) {
	o := peer.Options{Name: "vm-" + filepath.Base(dir), Poll: b.LoadCPU, Other: b.DUTCPU, Huge: b.Huge, Args: []string{"--no-flush-rx"}}
	ports := ""
	for i, vm := range p.VMs {
		o.Vdevs = append(o.Vdevs, vmDevice(i, vm, dir))
		ports += fmt.Sprintf(",%d,%d", i, len(p.VMs)+i)
	}
	for i, vm := range p.VMs {
		switch vm.Name {
		case c.From:
			o.Vdevs = append(o.Vdevs, fmt.Sprintf("net_pcap%d,rx_pcap=%s", i, filepath.Join(dir, "in.pcap")))
		case c.To:
			o.Vdevs = append(o.Vdevs, fmt.Sprintf("net_pcap%d,tx_pcap=%s", i, filepath.Join(dir, "out.pcap")))
		default:
			o.Vdevs = append(o.Vdevs, fmt.Sprintf("net_null%d,no-rx=1", i))
		}
	}
	t, err := peer.Start(o)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"set portlist " + ports[1:], "set fwd io"} {
		if _, err := t.Command("%s", c); err != nil {
			t.Kill()
			return nil, err
		}
	}
	return &pmdLoad{t, len(p.VMs)}, nil
}

// judge compares what arrived with what was sent: nothing else, and all of it; once, if
// it was sent once. Counted is how many packets the system says have left it.
func (c *Pass) judge(got [][]byte, counted uint64) (num int, err error) {
	want := map[string]int{}
	for i, f := range c.Sent {
		want[string(f)] = i
	}
	seen := make([]int, len(c.Sent))
	for i, f := range got {
		inner, err := c.Open(f)
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("packet %d: %w: %x", i, err, f)
		}
		n, ok := want[string(inner)]
		if !ok {
			return 0, fmt.Errorf("packet %d is none that should leave: %x", i, f)
		}
		seen[n]++
		num++
	}
	for i, n := range seen {
		if n == 0 || n > 1 && !c.Replayed {
			return 0, fmt.Errorf("frame %d of %d arrived %d times", i, len(seen), n)
		}
	}
	// Of a replay some are dropped by the VM as it ends. Of what leaves by the NIC nothing is.
	if (!c.Replayed || c.through()) && uint64(num) > counted || c.through() && uint64(len(got)) < counted {
		return 0, fmt.Errorf("%d packets left, the system counts %d", num, counted)
	}
	return num, nil
}

// errForeign is of frames that are none of the benchmark's: what the kernel sends by an
// interface of OVS's.
var errForeign = errors.New("not the benchmark's")

// plainFrame opens a frame without a tunnel.
func plainFrame(f []byte) ([]byte, error) { return f, nil }

// numbered are frames of as many flows that a VM sends to another, of the sizes in turn,
// with random content.
func numbered(from, to topology.VM, sizes ...int) (frames [][]byte, err error) {
	content := rand.New(rand.NewPCG(1, 2))
	for i := range checkFrames {
		f, err := frame(from, to, i, sizes[i%len(sizes)])
		if err != nil {
			return nil, err
		}
		for j := headers; j < len(f); j++ {
			f[j] = byte(content.Uint32())
		}
		binary.BigEndian.PutUint32(f[headers:], uint32(i))
		clear(f[headers-2 : headers]) // no UDP checksum of the content before
		frames = append(frames, bytes.Clone(f))
	}
	return frames, nil
}
