package stats

// PortCounters counts one port's packets, as one worker sees them. Received
// means from the port into the switch, sent means from the switch to the port.
// Frame bytes count from the Ethernet header on, without FCS.
type PortCounters struct {
	RxPackets, RxBytes Counter
	TxPackets, TxBytes Counter
	Generated          Counter                 // packets that the switch made because of one from this port (see doc.go)
	Drops              [NumDropReasons]Counter // packets that came from this port and were dropped
}
