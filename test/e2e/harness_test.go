package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/hostapi"
	"baton/test/cluster"
	"baton/test/lab"
	"baton/vhost/guest"
)

// waitLimit bounds each wait: reaching it is a failure, not a measurement.
const waitLimit = 20 * time.Second

// fewBuffers is a line of batond's configuration: tests move few packets, and
// share the machine's huge pages with others.
const fewBuffers = "memory: {buffers: 4096}"

// network is the model that most tests use: two switches, a router, and a VM of
// each switch on each host.
const network = `
kind: Host
name: host1
underlay: 192.168.100.1/24
mtu: 1600
---
kind: Host
name: host2
underlay: 192.168.100.2/24
mtu: 1600
---
{kind: Switch, name: blue, vni: 1001}
---
{kind: Switch, name: green, vni: 1002}
---
{kind: Router, name: r1, vni: 1003}
---
{kind: Port, name: r1-blue, switch: blue, router: r1, ip: 10.0.1.1/24, id: 1}
---
{kind: Port, name: r1-green, switch: green, router: r1, ip: 10.0.2.1/24, id: 2}
---
{kind: Port, name: vm1, switch: blue, ip: 10.0.1.11, host: host1, id: 11}
---
{kind: Port, name: vm2, switch: green, ip: 10.0.2.12, host: host1, id: 12}
---
{kind: Port, name: vm3, switch: blue, ip: 10.0.1.13, host: host2, id: 13}
---
{kind: Port, name: vm4, switch: green, ip: 10.0.2.14, host: host2, id: 14}
`

// The VMs and gateways of network.
var (
	vm1     = endpointOf("vm1", "10.0.1.11")
	vm2     = endpointOf("vm2", "10.0.2.12")
	vm3     = endpointOf("vm3", "10.0.1.13")
	vm4     = endpointOf("vm4", "10.0.2.14")
	gwBlue  = endpointOf("r1-blue", "10.0.1.1")
	gwGreen = endpointOf("r1-green", "10.0.2.1")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor polls cond until it holds, and fails the test if it never does.
func waitFor(t testing.TB, c *cluster.Cluster, what string, cond func() bool) {
	t.Helper()
	must(t, c.Lab.WaitFor(what, waitLimit, cond))
}

// repoRoot is the folder of go.mod.
func repoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// binDir is the folder of the built programs.
func binDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(repoRoot(t), "bin")
}

// newCluster is an underlay without controller and hosts. It goes with the test.
func newCluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	c, err := cluster.New(lab.ForTest(t), cluster.Options{Bin: binDir(t)})
	must(t, err)
	return c
}

// startController starts the controller and applies documents, if any.
func startController(t testing.TB, c *cluster.Cluster, documents ...string) {
	t.Helper()
	must(t, c.StartController())
	if len(documents) > 0 {
		must(t, c.Apply(documents...))
	}
}

// startHost adds a host and starts its batond. After the test, when its VMs are
// gone, its books and its buffers are checked.
func startHost(t testing.TB, c *cluster.Cluster, cfg cluster.HostConfig) *cluster.Host {
	t.Helper()
	cfg.More = append(cfg.More, fewBuffers)
	return startHostAs(t, c, cfg)
}

// startHostAs is startHost with the configuration as it is.
func startHostAs(t testing.TB, c *cluster.Cluster, cfg cluster.HostConfig) *cluster.Host {
	t.Helper()
	h, err := c.AddHost(cfg)
	must(t, err)
	must(t, h.Start())
	t.Cleanup(func() {
		select {
		case <-h.Proc.Exited(): // the test ended it; by itself is the lab's to report
			return
		default:
		}
		if err := settled(c, h); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			logHost(t, h)
		}
	})
	return h
}

// settled waits until a host without VMs has given back all buffers and its
// books balance.
func settled(c *cluster.Cluster, h *cluster.Host) error {
	_, err := h.CheckConserved()
	var s hostapi.Stats
	var last error
	leak := c.Lab.WaitFor("return of all buffers of "+h.Name, waitLimit, func() bool {
		s, last = h.Stats()
		return last == nil && s.Buffers.InUse == 0
	})
	if leak != nil {
		leak = fmt.Errorf("%w: %d of %d in use", leak, s.Buffers.InUse, s.Buffers.Size)
	}
	return errors.Join(err, leak, last)
}

// logHost says what a host did, for a failure.
func logHost(t testing.TB, h *cluster.Host) {
	t.Helper()
	for _, what := range []string{"dataplane ports", "dataplane drops", "dataplane stats", "dataplane workers", "vhost list"} {
		if out, err := h.Batonctl(strings.Fields(what)...); err == nil {
			t.Logf("%s: %s\n%s", h.Name, what, out)
		}
	}
	t.Logf("the end of %s's log:\n%s", h.Name, h.Proc.LogTail(20))
}

// host1 and host2 are the hosts of network, one on each of two CPUs.
func host1() cluster.HostConfig {
	return cluster.HostConfig{Name: "host1", Underlay: netip.MustParsePrefix("192.168.100.1/24"), CPU: 0}
}

func host2() cluster.HostConfig {
	return cluster.HostConfig{Name: "host2", Underlay: netip.MustParsePrefix("192.168.100.2/24"), CPU: 1}
}

// twoHosts is network on two batonds, in step; VMs are attached by attachVM.
func twoHosts(t testing.TB) (c *cluster.Cluster, h1, h2 *cluster.Host) {
	t.Helper()
	c = newCluster(t)
	startController(t, c, network)
	h1, h2 = startHost(t, c, host1()), startHost(t, c, host2())
	must(t, c.WaitInStep("host1", "host2"))
	return c, h1, h2
}

// dropCount is how many packets the host dropped for a reason, by its stable name.
func dropCount(t testing.TB, h *cluster.Host, reason string) uint64 {
	t.Helper()
	s, err := h.Stats()
	must(t, err)
	return s.Drops[reason]
}

// portOf is what the host says of a port.
func portOf(t testing.TB, h *cluster.Host, name string) hostapi.Port {
	t.Helper()
	ports, err := h.API.Ports(t.Context())
	must(t, err)
	for _, p := range ports {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("%s has no port %s", h.Name, name)
	return hostapi.Port{}
}

// waitDrops waits until the host has dropped exactly n packets for the reason;
// it fails if there are more.
func waitDrops(t testing.TB, c *cluster.Cluster, h *cluster.Host, reason string, n uint64) {
	t.Helper()
	waitFor(t, c, fmt.Sprintf("%d drops of %s on %s", n, reason, h.Name), func() bool { return dropCount(t, h, reason) >= n })
	if got := dropCount(t, h, reason); got != n {
		t.Fatalf("%s dropped %d packets for %s, want %d", h.Name, got, reason, n)
	}
}

// simVM is a simulated VM: virtio driver and vhost-user front end in this
// process. What it receives is kept until taken.
type simVM struct {
	endpoint
	Guest *guest.Guest

	c    *cluster.Cluster
	host *cluster.Host
	stop chan struct{} // closed to end the receivers
	done sync.WaitGroup

	mu       sync.Mutex // guards what follows
	received [][]byte
	count    int // frames received, also those that were not kept
}

// keepFrames bounds what a VM keeps; more are counted only.
const keepFrames = 1 << 14

// attachVM connects a simulated VM to its port and waits until the port is up.
// It listens as QEMU does; with a change to guest.Config it can do otherwise
// (Listen false for a batond in server mode). It leaves with the test.
func attachVM(t testing.TB, c *cluster.Cluster, h *cluster.Host, e endpoint, change ...func(*guest.Config)) *simVM {
	t.Helper()
	v := &simVM{endpoint: e, c: c, host: h}
	cfg := guest.Config{Name: e.Name, Path: h.VhostSocket(e.Name), Listen: true, Blocking: true}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(c.Lab.Context(), waitLimit)
	defer cancel()
	var err error
	v.Guest, err = guest.New(ctx, cfg)
	must(t, err)
	v.run()
	t.Cleanup(func() { v.leave() })
	must(t, h.WaitPorts(e.Name))
	return v
}

// run starts a receiver for each queue.
func (v *simVM) run() {
	v.stop = make(chan struct{})
	for _, q := range v.Guest.Rx {
		v.done.Add(1)
		go v.runReceive(q)
	}
}

func (v *simVM) runReceive(q *guest.RxQueue) {
	defer v.done.Done()
	for {
		select {
		case <-v.stop:
			return
		default:
		}
		// The deadline is only how soon the receiver sees that it is to stop.
		if err := q.Wait(time.Now().Add(20 * time.Millisecond)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		v.mu.Lock()
		v.count += q.Poll(256, func(_ guest.Hdr, frame []byte) {
			if len(v.received) < keepFrames {
				v.received = append(v.received, bytes.Clone(frame))
			}
		})
		v.mu.Unlock()
	}
}

// pause ends the receivers, so that the guest's control methods may be called;
// run goes on.
func (v *simVM) pause() {
	close(v.stop)
	v.done.Wait()
}

// leave detaches the VM; again does nothing. A host that is gone cannot answer,
// which is no failure of the VM.
func (v *simVM) leave() {
	if v.Guest == nil {
		return
	}
	v.pause()
	if err := v.Guest.Close(); err != nil {
		v.c.Lab.Logf("%s: %v", v.Name, err)
	}
	v.Guest = nil
}

// vanish ends the VM without a word to its host, as a crash does.
func (v *simVM) vanish() {
	v.pause()
	v.Guest.Abandon()
	v.Guest = nil
}

// send sends frames in order by the first queue pair, and waits for room.
func (v *simVM) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	waitFor(t, v.c, "room in the ring of "+v.Name, func() bool {
		frames = frames[v.Guest.Tx[0].SendBurst(frames, nil):]
		return len(frames) == 0
	})
}

// take returns what came since the last take.
func (v *simVM) take() [][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	frames := v.received
	v.received = nil
	return frames
}

// total is how many frames came since the VM was attached.
func (v *simVM) total() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.count
}

// expect waits until exactly the wanted frames came, in any order, each byte
// for byte, and takes them.
func (v *simVM) expect(t testing.TB, want ...[]byte) {
	t.Helper()
	left := map[string]int{}
	for _, f := range want {
		left[string(f)]++
	}
	var got [][]byte
	err := v.c.Lab.WaitFor(fmt.Sprintf("%d frames at %s", len(want), v.Name), waitLimit, func() bool {
		got = append(got, v.take()...)
		return len(got) >= len(want)
	})
	var wrong []string
	for _, f := range got {
		left[string(f)]--
		if left[string(f)] < 0 {
			wrong = append(wrong, fmt.Sprintf("unwanted, %d bytes: %s", len(f), describe(f)))
		}
	}
	for f, n := range left {
		if n > 0 {
			wrong = append(wrong, fmt.Sprintf("missing %d times, %d bytes: %s", n, len(f), describe([]byte(f))))
		}
	}
	if err != nil || len(wrong) > 0 {
		t.Fatalf("%s: %d frames came, want %d: %v; %d are unwanted or missing, the first of them:\n%s",
			v.Name, len(got), len(want), err, len(wrong), strings.Join(wrong[:min(len(wrong), 5)], "\n"))
	}
}

// expectNothing waits until the host is quiet and fails if the VM got a frame.
func (v *simVM) expectNothing(t testing.TB) {
	t.Helper()
	_, err := v.host.CheckConserved()
	must(t, err)
	for _, f := range v.take() {
		t.Errorf("%s: unwanted frame of %d bytes: %s", v.Name, len(f), describe(f))
	}
}
