package peer

import (
	"fmt"
	"regexp"
	"strconv"
)

// Stats is what testpmd counted between start and stop, over all its ports.
type Stats struct {
	Rx, Tx  map[int]uint64 // packets by port
	Dropped map[int]uint64 // that a port did not take
	// Busy is the cycles of polls that moved packets, with "set record-core-cycles on":
	// from before the receive call to after the send call, if that call got any.
	Busy uint64
}

var (
	portHead = regexp.MustCompile(`Forward statistics for port (\d+)`)
	rxLine   = regexp.MustCompile(`RX-packets: (\d+)`)
	txLine   = regexp.MustCompile(`TX-packets: (\d+)\s+TX-dropped: (\d+)`)
	sentLine = regexp.MustCompile(`TX-packets: (\d+)`)
	cycles   = regexp.MustCompile(`total cycles=(\d+)`)
)

// ParseStats reads what "stop" says.
//
//	error: no statistics of a port in it
func ParseStats(out string) (Stats, error) {
	s := Stats{Rx: map[int]uint64{}, Tx: map[int]uint64{}, Dropped: map[int]uint64{}}
	heads := portHead.FindAllStringSubmatchIndex(out, -1)
	for _, h := range heads {
		port, _ := strconv.Atoi(out[h[2]:h[3]])
		rx, tx := rxLine.FindStringSubmatch(out[h[1]:]), txLine.FindStringSubmatch(out[h[1]:])
		if rx == nil || tx == nil {
			return Stats{}, fmt.Errorf("testpmd: no counts of port %d in: %s", port, tail(out))
		}
		s.Rx[port], s.Tx[port], s.Dropped[port] = number(rx[1]), number(tx[1]), number(tx[2])
	}
	if len(heads) == 0 {
		return Stats{}, fmt.Errorf("testpmd: no statistics in: %s", tail(out))
	}
	if c := cycles.FindStringSubmatch(out); c != nil {
		s.Busy = number(c[1])
	}
	return s, nil
}

// Sent is the number of packets that a port of t has sent since it was started.
func (t *Testpmd) Sent(port int) (uint64, error) {
	out, err := t.Command("show port stats %d", port)
	if err != nil {
		return 0, err
	}
	n := sentLine.FindStringSubmatch(out)
	if n == nil {
		return 0, fmt.Errorf("testpmd: no counts of port %d in: %s", port, tail(out))
	}
	return number(n[1]), nil
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64) // the expressions let only digits through
	return n
}
