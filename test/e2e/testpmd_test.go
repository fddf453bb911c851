package e2e_test

import (
	"testing"

	"baton/test/cluster"
	"baton/test/lab"
)

// testpmd is the lab's testpmd, whose failures are the test's.
type testpmd struct{ *lab.Testpmd }

// startTestpmd starts testpmd as VM me, with peer as the one to send to.
func startTestpmd(t *testing.T, c *cluster.Cluster, me, peer endpoint, cfg lab.TestpmdConfig) *testpmd {
	t.Helper()
	cfg.MAC, cfg.IP, cfg.PeerMAC, cfg.PeerIP = me.MAC, me.IP, peer.MAC, peer.IP
	p, err := c.Lab.StartTestpmd(cfg)
	must(t, err)
	return &testpmd{p}
}

// start begins to forward in a mode: txonly, rxonly, io, macswap.
func (p *testpmd) start(t *testing.T, mode string) {
	t.Helper()
	must(t, p.Forward(mode))
}

// stopForwarding ends what start began and returns testpmd's own counts.
func (p *testpmd) stopForwarding(t *testing.T) (rx, tx uint64) {
	t.Helper()
	rx, tx, err := p.StopForwarding()
	must(t, err)
	return rx, tx
}

// quit ends testpmd and waits for its end.
func (p *testpmd) quit(t *testing.T) {
	t.Helper()
	must(t, p.Quit())
}
