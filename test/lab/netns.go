package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Netns is a named network namespace: a host, or the underlay between hosts.
type Netns struct {
	lab    *Lab
	name   string // short, as given
	full   string // in /run/netns, with the owner's mark
	handle netns.NsHandle
	link   *netlink.Handle
}

// Netns makes a namespace with its loopback up and IPv6 off, so that the kernel
// sends nothing of its own on the underlay.
//
//	error: name in use, or no permission; nothing is left behind
func (l *Lab) Netns(name string) (*Netns, error) {
	n := &Netns{lab: l, name: name, full: netnsPrefix + l.id + "-" + name}
	err := l.spawn.do(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		if n.handle, err = netns.NewNamed(n.full); err != nil {
			return err
		}
		return errors.Join(disableIPv6(), netns.Set(home))
	})
	if err == nil {
		n.link, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = n.setUp("lo")
	}
	if err != nil {
		_ = n.remove()
		return nil, fmt.Errorf("lab: namespace %s: %w", name, err)
	}
	l.Defer("namespace "+name, n.remove)
	return n, nil
}

// disableIPv6 works on the calling thread's namespace. A kernel without IPv6
// has nothing to disable.
func disableIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// evict kills what still runs in the namespace: a process that was started by one of the lab's,
// and has outlived it.
func (n *Netns) evict() {
	here, err := os.Stat(n.Path())
	if err != nil {
		return
	}
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, path := range all {
		its, err := os.Stat(path)
		if err != nil || !os.SameFile(here, its) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (n *Netns) remove() error {
	n.evict()
	if n.link != nil {
		n.link.Close()
	}
	if n.handle > 0 {
		_ = n.handle.Close()
	}
	err := netns.DeleteNamed(n.full)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Name is the name given to Lab.Netns.
func (n *Netns) Name() string { return n.name }

// FullName is the name that ip-netns(8) knows.
func (n *Netns) FullName() string { return n.full }

// Path is the namespace's file, for programs that enter it.
func (n *Netns) Path() string { return filepath.Join("/run/netns", n.full) }

// Do runs fn on a thread that is inside the namespace: sockets made by fn stay
// in it. One Do or process start runs at a time; fn must be short and must not
// call the lab.
func (n *Netns) Do(fn func() error) error {
	if err := n.lab.spawn.within(n, fn); err != nil {
		return fmt.Errorf("lab: in namespace %s: %w", n.name, err)
	}
	return nil
}

func (n *Netns) setUp(ifname string) error {
	link, err := n.link.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("interface %s: %w", ifname, err)
	}
	if err := n.link.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: set up: %w", ifname, err)
	}
	return nil
}

// SetUp sets interface ifname up.
func (n *Netns) SetUp(ifname string) error {
	if err := n.setUp(ifname); err != nil {
		return fmt.Errorf("lab: namespace %s: %w", n.name, err)
	}
	return nil
}

// AddAddr gives interface ifname an address with its prefix length.
func (n *Netns) AddAddr(ifname string, addr netip.Prefix) error {
	link, err := n.link.LinkByName(ifname)
	if err == nil {
		err = n.link.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{
			IP:   addr.Addr().AsSlice(),
			Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen()),
		}})
	}
	if err != nil {
		return fmt.Errorf("lab: namespace %s: address %v on %s: %w", n.name, addr, ifname, err)
	}
	return nil
}

// MAC is the Ethernet address of interface ifname.
func (n *Netns) MAC(ifname string) (net.HardwareAddr, error) {
	link, err := n.link.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("lab: namespace %s: interface %s: %w", n.name, ifname, err)
	}
	return link.Attrs().HardwareAddr, nil
}

// Bridge is a Linux bridge in a namespace of its own: the lab's underlay. It
// switches by MAC, as the embedded switch of a NIC does.
type Bridge struct {
	Netns *Netns
	Name  string // of the bridge's interface
	mtu   int
}

// Underlay makes namespace name with bridge br0 of the given MTU (bytes of L3).
func (l *Lab) Underlay(name string, mtu int) (*Bridge, error) {
	n, err := l.Netns(name)
	if err != nil {
		return nil, err
	}
	if err := n.Do(disableBridgeFilter); err != nil {
		return nil, fmt.Errorf("lab: underlay %s: %w", name, err)
	}
	b := &Bridge{Netns: n, Name: "br0", mtu: mtu}
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.Name, mtu
	if err := n.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return nil, fmt.Errorf("lab: underlay %s: bridge: %w", name, err)
	}
	return b, n.SetUp(b.Name)
}

// disableBridgeFilter keeps the kernel's IP filter off the bridges of the
// calling thread's namespace: a switch does not look at IP, and the filter drops
// packets with bad headers before a test sees what a host makes of them. A
// kernel without br_netfilter has nothing to disable.
func disableBridgeFilter() error {
	for _, which := range []string{"iptables", "ip6tables", "arptables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+which, []byte("0"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Attach joins host's new interface ifname to the bridge: a veth pair, up on
// both sides, with every checksum and segmentation offload off, so that what
// raw sockets (DPDK's net_af_packet, Open vSwitch) see are complete frames.
// mac may be nil: the kernel chooses one.
func (b *Bridge) Attach(host *Netns, ifname string, mac net.HardwareAddr) error {
	leg := b.Port(host, ifname)
	if err := b.Netns.Veth(leg, host, ifname, VethOptions{MTU: b.mtu, PeerMAC: mac}); err != nil {
		return err
	}
	bridge, err := b.Netns.link.LinkByName(b.Name)
	if err != nil {
		return fmt.Errorf("lab: underlay: %w", err)
	}
	port, err := b.Netns.link.LinkByName(leg)
	if err == nil {
		err = b.Netns.link.LinkSetMaster(port, bridge)
	}
	if err != nil {
		return fmt.Errorf("lab: underlay: attach %s: %w", leg, err)
	}
	return nil
}

// Port is the name, in the bridge's namespace, of the bridge's port behind interface
// ifname of host, which Attach made.
func (b *Bridge) Port(host *Netns, ifname string) string { return host.name + "-" + ifname }

// maxIfname is the longest name of an interface, in bytes (IFNAMSIZ - 1).
const maxIfname = unix.IFNAMSIZ - 1

// VethOptions of a veth pair; zero values leave the kernel's choice.
type VethOptions struct {
	MTU     int // bytes, both sides
	PeerMAC net.HardwareAddr
}

// Veth makes a veth pair between this namespace and peer's, up on both sides
// and without offloads.
func (n *Netns) Veth(ifname string, peer *Netns, peerName string, opts VethOptions) error {
	if len(ifname) > maxIfname || len(peerName) > maxIfname {
		return fmt.Errorf("lab: veth %s - %s: a name is longer than %d bytes", ifname, peerName, maxIfname)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = ifname, opts.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = peerName, netlink.NsFd(int(peer.handle))
	veth.PeerHardwareAddr, veth.PeerMTU = opts.PeerMAC, uint32(opts.MTU)
	if err := n.link.LinkAdd(veth); err != nil {
		return fmt.Errorf("lab: veth %s:%s - %s:%s: %w", n.name, ifname, peer.name, peerName, err)
	}
	for _, end := range []struct {
		ns   *Netns
		name string
	}{{n, ifname}, {peer, peerName}} {
		if err := end.ns.DisableOffloads(end.name); err != nil {
			return err
		}
		if err := end.ns.SetUp(end.name); err != nil {
			return err
		}
	}
	return nil
}
