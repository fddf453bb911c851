package lab

import (
	"fmt"
	"strings"
	"time"

	"baton/test/lab/guestwire"
)

// complaints are what Linux logs of devices that gave it what they should not, and
// of its own failures.
var complaints = []string{"bad gso", "bad csum", "hw csum failure", "is not a head", "Unexpected TXQ", "WARNING:", "BUG:"}

// wrongPackets are the counters of packets that Linux refused for what is in them.
var wrongPackets = []string{"IpInHdrErrors", "IcmpInCsumErrors", "TcpInCsumErrors", "TcpInErrs", "UdpInCsumErrors"}

// wrong is what one of wrongPackets has counted of them. Linux counts as TcpInErrs also
// a SYN in a connection that stands (RFC 5961, 4.2): one that was sent again, as on a busy
// machine where an answer takes longer than the sender's patience. It counts those apart too.
func wrong(name string, counts guestwire.CountersResult) int64 {
	n := counts[name]
	if name == "TcpInErrs" {
		n -= min(n, counts["TcpExtTCPSYNChallenge"])
	}
	return n
}

// CheckHealth asks the guest's kernel whether something was wrong with what its
// devices gave it: its log, and its counters of broken packets.
//
//	error: the line or the counter
func (g *Guest) CheckHealth() error {
	var counts guestwire.CountersResult
	if err := g.Call(guestwire.OpCounters, nil, 0, &counts); err != nil {
		return err
	}
	for _, name := range wrongPackets {
		if n := wrong(name, counts); n != 0 {
			return fmt.Errorf("lab: guest %s: %s is %d", g.cfg.Name, name, n)
		}
	}
	log, err := g.Exec(10*time.Second, "dmesg")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(log.Stdout, "\n") {
		for _, text := range complaints {
			if strings.Contains(line, text) {
				return fmt.Errorf("lab: guest %s: its kernel logged: %s", g.cfg.Name, line)
			}
		}
	}
	return nil
}
