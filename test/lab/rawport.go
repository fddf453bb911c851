package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// RawPort sends and receives whole Ethernet frames on one interface, as the
// simplest possible machine behind it.
type RawPort struct {
	fd     int
	ifname string
}

// htons is the byte order of packet(7)'s protocol numbers.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

// RawPort opens interface ifname of n. It sees frames in both directions except
// its own. Close frees it; so does the lab.
func (n *Netns) RawPort(ifname string) (*RawPort, error) {
	p := &RawPort{fd: -1, ifname: ifname}
	err := n.Do(func() error {
		iface, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		p.fd = fd
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
				&unix.PacketMreq{Ifindex: int32(iface.Index), Type: unix.PACKET_MR_PROMISC}),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: iface.Index}))
	})
	if err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("lab: raw port %s: %w", ifname, err)
	}
	n.lab.Defer("raw port "+ifname, p.Close)
	return p, nil
}

// Close closes the port; again does nothing.
func (p *RawPort) Close() error {
	if p.fd < 0 {
		return nil
	}
	err := unix.Close(p.fd)
	p.fd = -1
	return err
}

// Send sends one frame, without FCS.
func (p *RawPort) Send(frame []byte) error {
	if _, err := unix.Write(p.fd, frame); err != nil {
		return fmt.Errorf("lab: send on %s: %w", p.ifname, err)
	}
	return nil
}

// Recv returns the next frame for which want is true (nil: any), and forgets
// the ones before it.
//
//	error: none came within timeout; says how many others did
func (p *RawPort) Recv(timeout time.Duration, want func(frame []byte) bool) ([]byte, error) {
	deadline := time.Now().Add(timeout)
	b := make([]byte, 1<<16)
	for others := 0; ; {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, fmt.Errorf("lab: %s: the frame did not come within %v (%d others did)", p.ifname, timeout, others)
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); err == unix.EINTR || n == 0 {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("lab: %s: %w", p.ifname, err)
		}
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if err != nil {
			return nil, fmt.Errorf("lab: %s: %w", p.ifname, err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if want == nil || want(b[:n]) {
			return bytes.Clone(b[:n]), nil
		}
		others++
	}
}
