package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"baton/bench/topology"
)

// site is a network namespace with a bridge and three pairs of interfaces. It has no name, and
// goes when nobody is in it.
type site struct{ ns netns.NsHandle }

// Names of the site's interfaces: those of batond and of the far host, and the bridge's ports
// behind them.
const bridgeName = "br0"

var (
	ends  = [3]string{"eth0", "eth1", "eth2"}
	ports = [3]string{"port0", "port1", "port2"}
)

// newSite makes the namespace.
//
//	error: no right to (root)
//	owner: the caller, who closes it
func newSite() (*site, error) {
	s := &site{ns: netns.None()}
	err := apart(func() (err error) {
		if s.ns, err = netns.New(); err != nil { // the thread is in it
			return err
		}
		return s.build()
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network namespace: %w", err), s.close())
	}
	return s, nil
}

// apart runs f on a thread that may change its namespace, and brings the thread back.
func apart(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// do runs f inside. f is short.
func (s *site) do(f func() error) error {
	return apart(func() error {
		if err := netns.Set(s.ns); err != nil {
			return err
		}
		return f()
	})
}

// build makes bridge and interfaces in the thread's namespace. The kernel sends nothing of
// its own there.
func (s *site) build() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = bridgeName, topology.MTU
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	up := []string{"lo", bridgeName}
	for i, port := range ports {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.MasterIndex = port, topology.MTU, bridge.Index
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: ends[i], PeerMTU: topology.MTU}); err != nil {
			return fmt.Errorf("interfaces %s and %s: %w", port, ends[i], err)
		}
		up = append(up, port, ends[i])
	}
	for _, name := range up {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
	}
	return nil
}

func (s *site) close() error {
	if !s.ns.IsOpen() {
		return nil
	}
	return s.ns.Close()
}

// wire is the far host's interface.
//
//	conc: one goroutine
type wire struct {
	fd  int
	buf [2048]byte
}

// wireBuffer is the socket's room for what was received, bytes: seconds of the load.
const wireBuffer = 16 << 20

// newWire opens the far host's interface.
//
//	owner: the caller, who closes it
func (s *site) newWire() (*wire, error) {
	w := &wire{fd: -1}
	err := s.do(func() error {
		iface, err := net.InterfaceByName(ends[2])
		if err != nil {
			return err
		}
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		const ethPAll = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // big endian
		return errors.Join(
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wireBuffer),
			unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptPacketMreq(w.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(iface.Index), Type: unix.PACKET_MR_PROMISC}),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: ethPAll, Ifindex: iface.Index}))
	})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	return w, nil
}

// send sends a frame; not ok: the kernel has no room now.
func (w *wire) send(frame []byte) (ok bool) {
	n, err := unix.Write(w.fd, frame)
	return err == nil && n == len(frame)
}

// recv is the next frame, valid until the next call; nil: there is none.
func (w *wire) recv() []byte {
	n, err := unix.Read(w.fd, w.buf[:])
	if err != nil {
		return nil
	}
	return w.buf[:n]
}

func (w *wire) close() {
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}
