package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"baton/bench/gen"
	"baton/bench/report"
	"baton/bench/suite"
	"baton/bench/topology"
)

// Plan is what a system has to do in a case: the same for all of them.
type Plan struct {
	VMs  []topology.VM // on the host; each is an end of the load, by its name
	NIC  string        // DPDK device of the underlay
	Kept int           // packet buffers that the NIC's device keeps for itself
	Load gen.Load
	// Numbered asks for our generator, whose packets say which they are, also where
	// testpmd could send.
	Numbered bool
	WarmUp   time.Duration // more than suite.WarmUp; 0 = that
	Flows    []string      // of OVS, in ovs-ofctl's syntax
	// Rules are rules besides; OVS's are among Flows.
	Rules topology.Ruleset
	// Cold has all systems find packets' flows by masks: OVS without its exact-match cache,
	// baton with leastMicro entries.
	Cold bool
	// Small gives baton the smallest caches of all.
	Small bool
	// Through says that packets come from the NIC, pass a VM and leave by the NIC: these
	// count, once.
	Through bool
	// Staged asks for the stages of baton's cycles.
	Staged bool
	// Workers is how many threads the system polls with; 0 = 1.
	Workers int
	// Ports are the two ports of testpmd's vhost forwarding, by name (the NIC is
	// "nic"); empty if it cannot do the plan's work at all.
	Ports [2]string
}

// NICs that are no load.
const (
	sinkNIC = "net_null0,copy=0,no-rx=1" // takes all, gives nothing
)

// ringSize is that of the VMs' rings.
const ringSize = 256

// manyRules is how many take long enough to be told about.
const manyRules = 10_000

// Rig starts a system and its load, joined and paused.
//
//	error: an unableError if the system cannot do it at all
func (b *Bench) Rig(name string, p Plan) (_ *suite.Rig, err error) {
	b.rigs++
	dir := filepath.Join(b.Dir, fmt.Sprintf("%s-%d", name, b.rigs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if p.Rules.Num >= manyRules {
		begin := time.Now()
		fmt.Fprintf(b.Log, "%s: taking %d rules ...\n", name, p.Rules.Num)
		defer func() {
			fmt.Fprintf(b.Log, "%s: took them, and its load joined, in %.1f s\n", name, time.Since(begin).Seconds())
		}()
	}
	r := &suite.Rig{}
	defer func() {
		if err != nil {
			r.Close() // the error before says more
		}
	}()
	if r.System, err = b.startSystem(name, p, dir); err != nil {
		return nil, err
	}
	if r.Load, err = b.startLoad(p, dir); err != nil {
		return nil, err
	}
	return r, r.Ready(b.timing(p))
}

// startSystem starts a system, with sockets and files in dir.
func (b *Bench) startSystem(name string, p Plan, dir string) (suite.System, error) {
	switch name {
	case report.Baton:
		return b.startBaton(p, dir)
	case OVS:
		return b.startOVS(p, dir)
	case Testpmd:
		return b.startTestpmd(p, dir)
	}
	return nil, fmt.Errorf("no system %q: there are %s, %s, %s", name, report.Baton, OVS, Testpmd)
}
