package peer

import (
	"fmt"
	"regexp"
	"strings"
)

// OVSCounts is what an OVS has counted, over all its PMD threads.
type OVSCounts struct {
	Received    uint64 // packets from ports
	Recirculate uint64 // packets that passed the tables once more
	EMCHits     uint64
	SMCHits     uint64
	Megaflow    uint64 // hits
	Misses      uint64 // with an upcall that succeeded
	Failed      uint64 // with one that did not
	Busy        uint64 // cycles of iterations that moved packets
	Idle        uint64 // cycles of the others
	PMDs        int
	Ports       map[string]OVSPort
}

// OVSPort is one port's counters, packets.
type OVSPort struct {
	Rx, Tx, TxDropped uint64
}

var (
	pmdHead   = regexp.MustCompile(`(?m)^pmd thread numa_id \d+ core_id \d+:`)
	otherHead = regexp.MustCompile(`(?m)^main thread:`)
	portStart = regexp.MustCompile(`(?m)^  port \d+: (\S+)`)
	portRx    = regexp.MustCompile(`RX packets:(\d+)`)
	portTx    = regexp.MustCompile(`TX packets:(\d+) errors:\S+ dropped:(\d+|\?)`)
)

// ParsePMDStats reads what dpif-netdev/pmd-stats-show says.
//
//	error: no PMD thread in it, or a line is missing
func ParsePMDStats(out string) (c OVSCounts, err error) {
	if end := otherHead.FindStringIndex(out); end != nil && end[0] > 0 {
		out = out[:end[0]]
	}
	heads := pmdHead.FindAllStringIndex(out, -1)
	if len(heads) == 0 {
		return c, fmt.Errorf("OVS: no PMD thread in: %s", tail(out))
	}
	for i, h := range heads {
		end := len(out)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		part := out[h[0]:end]
		for _, f := range []struct {
			name string
			to   *uint64
		}{
			{"packets received", &c.Received}, {"packet recirculations", &c.Recirculate}, {"emc hits", &c.EMCHits}, {"smc hits", &c.SMCHits},
			{"megaflow hits", &c.Megaflow}, {"miss with success upcall", &c.Misses}, {"miss with failed upcall", &c.Failed},
		} {
			n, ok := field(part, f.name)
			if !ok {
				return c, fmt.Errorf("OVS: no %q in: %s", f.name, tail(part))
			}
			*f.to += n
		}
		busy, _ := field(part, "processing cycles") // these are not there before the first iteration
		idle, _ := field(part, "idle cycles")
		c.Busy, c.Idle, c.PMDs = c.Busy+busy, c.Idle+idle, c.PMDs+1
	}
	return c, nil
}

// field is the number behind a name at the start of a line.
func field(text, name string) (uint64, bool) {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && k == name {
			v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
			return number(v), true
		}
	}
	return 0, false
}

// ParsePorts reads what "dpctl/show -s" says. Ports without counters (tunnels) are left out.
//
//	error: no port in it
func ParsePorts(out string) (map[string]OVSPort, error) {
	ports := map[string]OVSPort{}
	starts := portStart.FindAllStringSubmatchIndex(out, -1)
	for i, m := range starts {
		end := len(out)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		part := out[m[0]:end]
		rx, tx := portRx.FindStringSubmatch(part), portTx.FindStringSubmatch(part)
		if rx != nil && tx != nil {
			ports[out[m[2]:m[3]]] = OVSPort{Rx: number(rx[1]), Tx: number(tx[1]), TxDropped: number(tx[2])}
		}
	}
	if len(ports) == 0 {
		return nil, fmt.Errorf("OVS: no ports in: %s", tail(out))
	}
	return ports, nil
}
