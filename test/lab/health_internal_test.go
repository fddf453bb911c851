package lab

import (
	"testing"

	"baton/test/lab/guestwire"
)

// A SYN that was sent again is no packet with something wrong in it; others that come with
// it are.
func TestWrongPackets(t *testing.T) {
	for _, k := range []struct {
		name               string
		count, syns, wrong int64
	}{
		{"TcpInErrs", 0, 0, 0}, {"TcpInErrs", 2, 2, 0}, {"TcpInErrs", 2, 3, 0}, {"TcpInErrs", 3, 2, 1}, {"TcpInErrs", 1, 0, 1},
		{"TcpInCsumErrors", 1, 2, 1}, {"UdpInCsumErrors", 0, 2, 0},
	} {
		counts := guestwire.CountersResult{k.name: k.count, "TcpExtTCPSYNChallenge": k.syns}
		if n := wrong(k.name, counts); n != k.wrong {
			t.Errorf("%+v: %d", k, n)
		}
	}
}
