package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"baton/test/lab/guestwire"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ethernetLinks lists the names of Ethernet interfaces, and sets the loopback
// up on its way.
func ethernetLinks() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if l.Attrs().Flags&net.FlagLoopback != 0 {
			if err := netlink.LinkSetUp(l); err != nil {
				return nil, err
			}
		} else if len(l.Attrs().HardwareAddr) == 6 {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

func configure(args guestwire.NetArgs) (struct{}, error) {
	none := struct{}{}
	link, err := netlink.LinkByName(args.Link)
	if err != nil {
		return none, err
	}
	if args.MTU != 0 {
		if err := netlink.LinkSetMTU(link, args.MTU); err != nil {
			return none, fmt.Errorf("mtu %d: %w", args.MTU, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return none, err
	}
	if args.Addr != "" {
		if err := replaceAddr(link, args.Addr); err != nil {
			return none, fmt.Errorf("address %s: %w", args.Addr, err)
		}
	}
	if args.Gateway != "" {
		gw := net.ParseIP(args.Gateway)
		if gw == nil {
			return none, fmt.Errorf("gateway %q is no IP address", args.Gateway)
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw}); err != nil {
			return none, fmt.Errorf("gateway %s: %w", args.Gateway, err)
		}
	}
	for _, n := range args.Neighbours {
		if err := addNeighbour(link, n); err != nil {
			return none, fmt.Errorf("neighbour %s at %s: %w", n.IP, n.MAC, err)
		}
	}
	return none, nil
}

func addNeighbour(link netlink.Link, n guestwire.Neighbour) error {
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: net.ParseIP(n.IP), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
	})
}

func replaceAddr(link netlink.Link, text string) error {
	addr, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if addr.IP.To4() == nil {
		family = netlink.FAMILY_V6
		addr.Flags = unix.IFA_F_NODAD // duplicate detection takes a second, and the lab gives each address once
	}
	old, err := netlink.AddrList(link, family)
	if err != nil {
		return err
	}
	for _, a := range old {
		if a.Equal(*addr) {
			return nil
		}
		if a.IP.IsLinkLocalUnicast() {
			continue // the kernel's own
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	return netlink.AddrAdd(link, addr)
}

func linkState(args guestwire.LinkArgs) (guestwire.LinkResult, error) {
	dir := filepath.Join("/sys/class/net", filepath.Base(args.Link))
	var r guestwire.LinkResult
	text := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(dir, name)) // carrier of a link that is down cannot be read
		return strings.TrimSpace(string(data))
	}
	entries, err := os.ReadDir(filepath.Join(dir, "statistics"))
	if err != nil {
		return r, err
	}
	r.MAC, r.Carrier = text("address"), text("carrier") == "1"
	if r.MTU, err = strconv.Atoi(text("mtu")); err != nil {
		return r, err
	}
	if r.CarrierChanges, err = strconv.Atoi(text("carrier_changes")); err != nil {
		return r, err
	}
	r.Features = virtioFeatures(text("device/features"))
	r.Statistics = make(map[string]uint64)
	for _, e := range entries {
		if r.Statistics[e.Name()], err = strconv.ParseUint(text("statistics/"+e.Name()), 10, 64); err != nil {
			return r, err
		}
	}
	return r, nil
}

// virtioFeatures reads a row of 0 and 1, bit 0 first, as a virtio device has it;
// other devices have none.
func virtioFeatures(row string) (bits uint64) {
	for i, c := range row {
		if c == '1' && i < 64 {
			bits |= 1 << i
		}
	}
	return bits
}

var neighbourStates = map[int]string{
	netlink.NUD_NONE: "none", netlink.NUD_INCOMPLETE: "incomplete", netlink.NUD_REACHABLE: "reachable",
	netlink.NUD_STALE: "stale", netlink.NUD_DELAY: "delay", netlink.NUD_PROBE: "probe",
	netlink.NUD_FAILED: "failed", netlink.NUD_NOARP: "noarp", netlink.NUD_PERMANENT: "permanent",
}

func neighbours() ([]guestwire.ARPEntry, error) {
	list, err := netlink.NeighList(0, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	entries := []guestwire.ARPEntry{}
	for _, n := range list {
		link, err := netlink.LinkByIndex(n.LinkIndex)
		if err != nil || n.State == netlink.NUD_NOARP {
			continue // loopback and multicast
		}
		entries = append(entries, guestwire.ARPEntry{
			IP: n.IP.String(), MAC: n.HardwareAddr.String(),
			Link: link.Attrs().Name, State: neighbourStates[n.State],
		})
	}
	return entries, nil
}
