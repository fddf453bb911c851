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
		if counts[name] != 0 {
			return fmt.Errorf("lab: guest %s: %s is %d", g.cfg.Name, name, counts[name])
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
