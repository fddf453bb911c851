package lab_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"baton/nic/steer"
	"baton/test/lab"
)

// The underlay is a switch: it carries what looks like IPv4 and is broken, or no
// test of hostile packets means anything.
func TestUnderlayCarriesBrokenIPv4(t *testing.T) {
	l := lab.ForTest(t)
	bridge, err := l.Underlay("underlay", 1600)
	must(t, err)
	var ports []*lab.RawPort
	for _, name := range []string{"left", "right"} {
		n, err := l.Netns(name)
		must(t, err)
		must(t, bridge.Attach(n, "eth0", nil))
		p, err := n.RawPort("eth0")
		must(t, err)
		ports = append(ports, p)
	}
	// The checksum is wrong, and the total length is more than there is.
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0, 0x05, 0xdc}, make([]byte, 60)...)
	must(t, ports[0].Send(frame))
	_, err = ports[1].Recv(5*time.Second, func(got []byte) bool { return bytes.Equal(got, frame) })
	must(t, err)
}

// A port's name and the namespace's path are what a program outside finds them by.
func TestUnderlayPort(t *testing.T) {
	l := lab.ForTest(t)
	bridge, err := l.Underlay("underlay", 1600)
	must(t, err)
	n, err := l.Netns("host")
	must(t, err)
	must(t, bridge.Attach(n, "eth1", nil))
	s, err := steer.New(steer.Config{
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Ports: [2]string{bridge.Port(n, "eth1"), "none"}, Netns: bridge.Netns.Path(),
	})
	must(t, err)
	must(t, s.Take(0))
	if at, err := s.Where(); at != 0 || err != nil {
		t.Errorf("Where() = %d, %v", at, err)
	}
}
