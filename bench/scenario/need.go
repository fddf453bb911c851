package scenario

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"baton/bench/dut"
	"baton/bench/gen"
	"baton/bench/machine"
	"baton/bench/peer"
	"baton/bench/report"
	"baton/bench/tsc"
)

// What a case needs at the most, in huge pages of 2 MiB: a system with its load, of which
// the one keeps 100000 packets and the other has testpmd's buffers.
const (
	batonPages   = 250
	ovsPages     = 330
	testpmdPages = 260
)

// hugePages is what is asked for needs.
func (o *Options) hugePages() int { return pagesFor(o.Peers...) }

// pagesFor is what baton and peers need.
func pagesFor(peers ...string) int {
	n := batonPages
	for _, p := range peers {
		n += map[string]int{OVS: ovsPages, Testpmd: testpmdPages}[p]
	}
	return n
}

// tooFew is what to do where free huge pages are too few for peers: OVS-DPDK is one of them,
// and needs them; all others can do with ordinary pages.
func tooFew(peers []string, free int) error {
	asked, need := strings.Join(peers, ","), pagesFor(peers...)
	var instead []string
	if pagesFor(OVS) < need {
		if pagesFor(OVS) <= free {
			instead = append(instead, "--peer "+OVS+" alone")
		} else {
			instead = append(instead, fmt.Sprintf("--peer %s alone with %d huge pages (scripts/huge-pages %d)", OVS, pagesFor(OVS), pagesFor(OVS)))
		}
	}
	instead = append(instead, "--peer "+Testpmd, `--peer "" (baton alone)`)
	return fmt.Errorf("--peer %s needs %d huge pages of 2 MiB, and %d are free: scripts/huge-pages %d; without so many run %s", asked, need, free, need, strings.Join(instead, ", or "))
}

// Check checks what is asked for of the items against what the machine has, whatever else
// runs on it.
//
//	error: what is wrong, and what can be run instead
func (o *Options) Check(items []Item) error {
	loads := len(items) == 0 || slices.ContainsFunc(items, func(i Item) bool { _, ok := i.Scenario.(alone); return !ok })
	if !loads {
		o.Peers = nil
	} else if err := peer.Check(); err != nil {
		return fmt.Errorf("the load and the checked passes need it: %w; what can be run without: loopgap, make microbench", err)
	}
	if err := o.check(); err != nil {
		return err
	}
	for _, i := range items {
		if s, ok := i.Scenario.(choosy); ok {
			if err := s.check(o); err != nil {
				return fmt.Errorf("%s: %w", i.Scenario.Name(), err)
			}
		}
	}
	if n := runtime.NumCPU(); n < 2 { // those that the process may use: taskset and cpusets count
		return fmt.Errorf("this process may use %d CPU, and the load needs one of its own: give it two (taskset, cpuset), or run the benchmarks beside the code (make microbench)", n)
	}
	for _, cpu := range append([]int{o.DUTCPU, o.LoadCPU}, o.MoreCPUs...) {
		if err := machine.On(cpu, func() error { return nil }); err != nil {
			return fmt.Errorf("%w: this one has %d (--dut-cpu, --load-cpu); with one, run the benchmarks beside the code (make microbench)", err, runtime.NumCPU())
		}
	}
	return nil
}

// Settle fills in what the machine decides, once nobody else measures on it; Check has
// passed.
//
//	error: too few huge pages, and what can be run instead
func (o *Options) Settle() error {
	free := machine.FreeHugePages()
	o.Huge = free >= o.hugePages()
	if slices.Contains(o.Peers, OVS) && !o.Huge {
		return tooFew(o.Peers, free)
	}
	o.RT = machine.Favour(0) == nil
	o.Hz = tsc.Hz(50 * time.Millisecond)
	return nil
}

// check tells what is wrong with what is asked for.
func (o *Options) check() error {
	for _, n := range o.Flows {
		if n < 1 || n > maxFlows {
			return fmt.Errorf("--flows %d: want 1 to %d", n, maxFlows)
		}
	}
	for _, s := range o.Sizes {
		if s != report.IMIX && (s < gen.MinSize || s > gen.MaxSize) {
			return fmt.Errorf("--size %d: want %d to %d bytes, or imix", int(s), gen.MinSize, gen.MaxSize)
		}
	}
	if o.Runs < 1 {
		return fmt.Errorf("--runs %d: want at least one", o.Runs)
	}
	if o.Length < shortest || o.Length > longest {
		return fmt.Errorf("--duration %v: want %v to %v", o.Length, shortest, longest)
	}
	var peers []string
	for _, p := range o.Peers { // "" is nobody, and twice is once
		if p != "" && !slices.Contains(peers, p) {
			peers = append(peers, p)
		}
	}
	o.Peers = peers
	if o.DUTCPU == o.LoadCPU || slices.Contains(o.MoreCPUs, o.LoadCPU) || slices.Contains(o.MoreCPUs, o.DUTCPU) {
		return errors.New("the system under test and the load need a CPU each; with one CPU, run the benchmarks beside the code (make microbench)")
	}
	for _, p := range o.Peers {
		if err := checkPeer(p); err != nil {
			return err
		}
	}
	return nil
}

// shortest is the length of a trial below which a burst more or less decides.
const shortest = 10 * time.Millisecond

// longest is the length of a trial above which somebody has mistaken the unit.
const longest = time.Hour

// maxFlows is what the ports of a generator's frames can tell apart.
const maxFlows = 1 << 24

// checkPeer says whether a peer can be run, and else what can.
func checkPeer(name string) error {
	err := usable(name)
	if err == nil {
		return nil
	}
	var others []string
	for _, p := range []string{OVS, Testpmd} {
		if usable(p) == nil {
			others = append(others, "--peer "+p)
		}
	}
	others = append(others, `--peer "" (baton alone)`)
	return fmt.Errorf("peer %s: %w; what can be run: %s", name, err, strings.Join(others, ", "))
}

// usable says whether a peer is there.
func usable(name string) error {
	switch name {
	case OVS:
		return peer.CheckOVS()
	case Testpmd:
		return peer.Check()
	case "vpp":
		return errors.New("VPP has no package in Debian 12 and is not supported")
	}
	return errors.New("there is no such peer")
}

// Versions are those of the systems and of what they are made with.
func (o *Options) Versions() map[string]string {
	v := map[string]string{"go": runtime.Version()}
	if slices.Contains(o.Peers, OVS) {
		v[OVS] = peer.OVSVersion()
	}
	return v
}

// Notes say how it was measured.
func (o *Options) Notes() []string {
	memory, priority := "huge pages", "nice -19, so that ordinary load gets about a hundredth beside them"
	if !o.Huge {
		memory = fmt.Sprintf("ordinary pages (too few huge pages: scripts/huge-pages %d)", o.hugePages())
	}
	if !o.RT {
		priority = "ordinary (no right to raise it)"
	}
	return []string{
		fmt.Sprintf("%d trials of %v that count for each system and case, in turns, and up to twice as many for that; system under test on CPU %d, load and all threads that do not poll on CPU %d, in %s; priority of the threads that poll: %s.",
			o.Runs, o.Length, o.DUTCPU, o.LoadCPU, memory, priority),
		fmt.Sprintf("VMs: net_virtio_user of DPDK's, VERSION_1, MRG_RXBUF, IN_ORDER, rings of %d; the same generator for all systems.", ringSize),
		fmt.Sprintf("baton: batond's default settings (one worker, %d buffers, %d megaflows, no busy polling).", dut.DefaultBuffers, dut.DefaultFlows),
		"OVS-DPDK: its default settings (exact-match cache with insertion probability 1/100, no SMC, no vectorised parser), bridges and flows that do the same job, no connection tracking.",
		"testpmd: net_vhost to the other port, io forwarding: no parsing, no lookup, no tunnel. It is the floor of DPDK's vhost library in C.",
		"VPP has no package in Debian 12 and is not measured.",
		fmt.Sprintf("A search's trial that lost packets is made again, up to %d times in all, if the system's pollers waited for their CPUs for as long as half a ring takes. Latencies do not count packets that were under way while the generator's loop did not run for 20 us or more.", maxTries),
	}
}
