package steer

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bridge moves the VTEP between two ports of a Linux bridge.
type bridge struct {
	mac   net.HardwareAddr
	ports [2]string
	netns string // path; empty: the caller's
}

var _ way = (*bridge)(nil)

// do runs fn with a netlink socket in the bridge's namespace.
func (b *bridge) do(fn func(h *netlink.Handle) error) error {
	h, err := b.open()
	if err != nil {
		return err
	}
	defer h.Close()
	return fn(h)
}

// open makes a netlink socket in the bridge's namespace. The caller closes it.
func (b *bridge) open() (*netlink.Handle, error) {
	if b.netns == "" {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	ns, err := netns.GetFromPath(b.netns)
	if err != nil {
		return nil, fmt.Errorf("bridge's network namespace %s: %w: give the path of one, such as /run/netns/NAME for one that 'ip netns' lists", b.netns, err)
	}
	defer ns.Close()
	if t := nsType(ns); t != unix.CLONE_NEWNET {
		return nil, fmt.Errorf("%s is no network namespace: give the path of one, such as /run/netns/NAME for one that 'ip netns' lists", b.netns)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace %s (needs CAP_SYS_ADMIN): %w", b.netns, err)
	}
	return h, nil
}

// nsType is the CLONE_NEW* of a namespace's descriptor, 0 of another one.
func nsType(ns netns.NsHandle) int {
	t, err := unix.IoctlRetInt(int(ns), unix.NS_GET_NSTYPE)
	if err != nil {
		return 0
	}
	return t
}

// place says where the ports are looked for.
func (b *bridge) place() string {
	if b.netns == "" {
		return "this network namespace"
	}
	return "network namespace " + b.netns
}

// find is the index of a port, and the bridge that has it.
//
//	error: names the port and the fix
func (b *bridge) find(h *netlink.Handle, name string) (index int, master string, err error) {
	link, err := h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return 0, "", fmt.Errorf("bridge port %s: no such interface in %s: name the bridge's ports as 'bridge link' shows them there", name, b.place())
	}
	if err != nil {
		return 0, "", fmt.Errorf("bridge port %s: %w", name, err)
	}
	attrs := link.Attrs()
	if attrs.MasterIndex == 0 {
		return 0, "", fmt.Errorf("bridge port %s: it is in no bridge: attach it ('ip link set %s master BRIDGE')", name, name)
	}
	of, err := h.LinkByIndex(attrs.MasterIndex)
	if err != nil {
		return 0, "", fmt.Errorf("bridge port %s: its bridge: %w", name, err)
	}
	master = of.Attrs().Name
	if of.Type() != "bridge" {
		return 0, "", fmt.Errorf("bridge port %s: it is in %s, a %s: attach it to a bridge ('ip link set %s master BRIDGE')", name, master, of.Type(), name)
	}
	if bytes.Equal(attrs.HardwareAddr, b.mac) || bytes.Equal(of.Attrs().HardwareAddr, b.mac) {
		return 0, "", fmt.Errorf("bridge port %s: %v is its own address, or that of bridge %s: give the VTEP's, which is on the far side", name, b.mac, master)
	}
	return attrs.Index, master, nil
}

// entry is the forwarding entry at a port; "bridge fdb" shows it as static and sticky.
// NOARP makes it static: it does not age.
func (b *bridge) entry(port int) *netlink.Neigh {
	return &netlink.Neigh{
		Family: unix.AF_BRIDGE, LinkIndex: port, HardwareAddr: b.mac,
		State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER | netlink.NTF_STICKY,
	}
}

func (b *bridge) check() error {
	return b.do(func(h *netlink.Handle) error {
		_, first, err := b.find(h, b.ports[0])
		if err != nil {
			return err
		}
		_, second, err := b.find(h, b.ports[1])
		if err != nil {
			return err
		}
		if first != second {
			return fmt.Errorf("bridge ports %s and %s: the first is in bridge %s, the second in %s: put both into one", b.ports[0], b.ports[1], first, second)
		}
		return nil
	})
}

// take replaces the entry: the kernel writes the port into the one that is there. The
// other port may be gone, with the process that had its device.
//
// It is done twice since the kernel writes the port before the flag, and learning takes
// no lock: if the entry was a learned one, a frame from the other port may come between
// and leave a sticky entry at the wrong port. The second time it is sticky already.
func (b *bridge) take(which int) error {
	return b.do(func(h *netlink.Handle) error {
		port, _, err := b.find(h, b.ports[which])
		for i := 0; err == nil && i < 2; i++ {
			err = h.NeighSet(b.entry(port))
			if err != nil {
				err = fmt.Errorf("bridge port %s: set the forwarding entry%s: %w", b.ports[which], need(err), err)
			}
		}
		return err
	})
}

// need says what an error's remedy is.
func need(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (needs CAP_NET_ADMIN)"
	}
	return ""
}

// where looks for the entry among all that there are. With VLANs the kernel made one
// more for each of the port's; the first of them speaks for all.
func (b *bridge) where() (at int, err error) {
	at = Neither
	err = b.do(func(h *netlink.Handle) error {
		entries, err := h.NeighList(0, unix.AF_BRIDGE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what was dumped is true
			return fmt.Errorf("list the forwarding entries: %w", err)
		}
		for i := range b.ports {
			if b.has(h, i, entries) {
				at = i
				return nil
			}
		}
		return err
	})
	return at, err
}

// has says whether the entry is at port which; a port that is gone has none.
func (b *bridge) has(h *netlink.Handle, which int, entries []netlink.Neigh) bool {
	link, err := h.LinkByName(b.ports[which])
	return err == nil && slices.ContainsFunc(entries, func(e netlink.Neigh) bool {
		return e.LinkIndex == link.Attrs().Index && e.Flags&netlink.NTF_STICKY != 0 && bytes.Equal(e.HardwareAddr, b.mac)
	})
}

// remove deletes the entry at both ports: with VLANs there are several, and those of a
// VLAN that only one port is in stay there when the others move.
func (b *bridge) remove() error {
	return b.do(func(h *netlink.Handle) error {
		for _, name := range b.ports {
			link, err := h.LinkByName(name)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				continue // its entries went with it
			}
			if err == nil {
				err = h.NeighDel(b.entry(link.Attrs().Index))
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("bridge port %s: delete the forwarding entry%s: %w", name, need(err), err)
			}
		}
		return nil
	})
}
