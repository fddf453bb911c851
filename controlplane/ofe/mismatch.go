package ofe

import (
	"fmt"
	"net/netip"
	"strings"

	"baton/controlplane/model"
	"baton/dataplane/flow"
)

// Mismatch says how what a host's batond reports of itself differs from its
// object in the network, and what to do; empty if it does not. Such a host is
// served all the same: it forwards between its own VMs, but other hosts send to
// what the network says.
func Mismatch(h *model.Host, i HostInfo) string {
	if i.VTEPIP == 0 {
		return "" // it never said hello
	}
	var all []string
	say := func(key string, configured, modelled any) {
		all = append(all, fmt.Sprintf("%s %v in batond's configuration, but %v in the network", key, configured, modelled))
	}
	if ip := i.address(); h.Underlay.Addr.IsValid() && ip != h.Underlay.Addr {
		say("underlay address", ip, h.Underlay.Addr)
	}
	if h.MTU > i.MTU {
		say("MTU", i.MTU, h.MTU)
	}
	if h.MAC != (flow.MAC{}) && h.MAC != i.VTEPMAC {
		say("underlay MAC", i.VTEPMAC, h.MAC)
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "; ") + ": make both the same, or other hosts cannot reach it"
}

func (i *HostInfo) address() netip.Addr {
	ip := i.VTEPIP
	return netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
}

// compare warns once a session of a host that is not as the network has it.
func (x *session) compare() {
	if x.s.cfg.Object == nil {
		return
	}
	h := x.s.cfg.Object(x.h.name)
	if h == nil {
		return // removed since it was admitted
	}
	if text := Mismatch(h, x.h.info()); text != "" {
		x.s.log.Warn("host is not as the network has it", "host", x.h.name, "problem", text)
	}
}
