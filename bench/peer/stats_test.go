package peer_test

import (
	"testing"

	"baton/bench/peer"
)

const stopped = `Telling cores to stop...
Waiting for lcores to finish...

  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 21632          RX-dropped: 0             RX-total: 21632
  TX-packets: 288            TX-dropped: 21344         TX-total: 21632
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 4576704        RX-dropped: 0             RX-total: 4576704
  TX-packets: 4576704        TX-dropped: 0             TX-total: 4576704
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 4598336        RX-dropped: 0             RX-total: 4598336
  TX-packets: 4576992        TX-dropped: 21344         TX-total: 4598336

  CPU cycles/packet=261.12 (total cycles=1200706010 / total io packets=4598336) at 2450 MHz Clock

Done.`

func TestParseStats(t *testing.T) {
	s, err := peer.ParseStats(stopped)
	if err != nil {
		t.Fatal(err)
	}
	if s.Rx[0] != 21632 || s.Tx[0] != 288 || s.Dropped[0] != 21344 || s.Rx[1] != 4576704 || s.Busy != 1200706010 {
		t.Errorf("%+v", s)
	}
	if _, err := peer.ParseStats("Bad arguments"); err == nil {
		t.Error("no statistics: no error")
	}
}
