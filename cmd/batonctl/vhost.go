package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"baton/hostapi"
)

const vhostLong = `Show this host's vhost-user devices: one for each VM's port that is bound here.

'list' is an overview. 'show' has everything that is known of one device: what was
negotiated with the guest, its rings and how far they are, its memory, and what went
wrong. Counts are from batond's start.`

func newVhost(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:     "vhost",
		Short:   "Show this host's vhost-user devices",
		Long:    vhostLong,
		Example: "  batonctl vhost list\n  batonctl vhost show vm1\n  batonctl vhost show vm1 -o json",
	}
	c.AddCommand(newVhostList(o), newVhostShow(o))
	return c
}

func newVhostList(o *options) *cobra.Command {
	return ask(o, "list", "Devices, their state and whether a guest drives them", "  batonctl vhost list",
		func(ctx context.Context, c *hostapi.Client) ([]hostapi.Vhost, error) { return c.Vhosts(ctx) },
		func(t *table, devices []hostapi.Vhost) {
			t.row("PORT", "CONNECTED", "STATE", "QUEUES", "RINGS", "OFFLOADS", "SENT", "RECEIVED", "MODE", "SOCKET")
			for _, d := range devices {
				sent, received := packets(d.Rings)
				t.row(d.Port, yesNo(d.Connected), vhostState(&d), fmt.Sprintf("%d of %d", d.Active, d.QueuePairs), ringFormat(d.Rings),
					offloads(d.FeatureNames), sent, received, d.Mode, d.Socket)
			}
		})
}

// vhostState is one phrase on what the device does, or what it waits for.
func vhostState(d *hostapi.Vhost) string {
	var broken []string
	started := false
	for _, r := range d.Rings {
		if r.Broken != "" {
			broken = append(broken, fmt.Sprintf("ring %d broken: %s", r.Index, r.Broken))
		}
		started = started || r.Started
	}
	switch {
	case d.Busy:
		return "busy"
	case len(broken) > 0:
		return strings.Join(broken, ", ")
	case d.Up && d.Log.Active:
		return "up, migrating"
	case d.Up:
		return "up"
	case !d.Connected:
		return "no front end"
	case !started:
		return "no driver"
	}
	return "down"
}

// packets sums up what the guest sent and received.
func packets(rings []hostapi.Ring) (sent, received uint64) {
	for _, r := range rings {
		if r.Direction == "tx" {
			sent += r.Packets
		} else {
			received += r.Packets
		}
	}
	return sent, received
}

func ringFormat(rings []hostapi.Ring) string {
	for _, r := range rings {
		if r.Started {
			return r.Format
		}
	}
	return ""
}

// offloads is in short what may pass unfinished: from the guest, and to it.
func offloads(features []string) string {
	side := func(name, csum, tso4, tso6 string) string {
		switch {
		case slices.Contains(features, tso4) || slices.Contains(features, tso6):
			return name + " tso"
		case slices.Contains(features, csum):
			return name + " csum"
		}
		return ""
	}
	both := []string{
		side("tx", "CSUM", "HOST_TSO4", "HOST_TSO6"),
		side("rx", "GUEST_CSUM", "GUEST_TSO4", "GUEST_TSO6"),
	}
	return strings.Join(slices.DeleteFunc(both, func(s string) bool { return s == "" }), ", ")
}

func newVhostShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show PORT",
		Short: "One device: features, rings, memory, errors",
		Long: `Show one device: what was negotiated, rings, memory, errors.

Of a split ring AVAIL and USED are the running indices of driver and device, modulo
65536; of a packed ring they are slots with a wrap counter, as in 17/1, and unknown
where its memory does not tell, or while the guest writes. Those of a broken ring are
unknown. Equal values mean that nothing waits in a ring in which the guest sends, and
that it gave no buffers in one in which it receives.`,
		Example: "  batonctl vhost show vm1\n  batonctl vhost show vm1 -o json",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
			if len(args) == 0 {
				devices, _ := hostapi.NewClient(o.hostSocket).Vhosts(cmd.Context()) // no batond: nothing to offer
				all = vhostPorts(devices)
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			devices, err := hostapi.NewClient(o.hostSocket).Vhosts(cmd.Context())
			if err != nil {
				return err
			}
			for i := range devices {
				if d := &devices[i]; d.Port == args[0] {
					return print(cmd.OutOrStdout(), o.output, d, func(t *table) { fillVhost(t, d) })
				}
			}
			return noVhost(args[0], devices)
		},
	}
}

func vhostPorts(devices []hostapi.Vhost) (all []string) {
	for _, d := range devices {
		all = append(all, d.Port)
	}
	return all
}

// noVhost is the error for a port that is not on this host; it names those that are.
func noVhost(name string, devices []hostapi.Vhost) error {
	const most = 10
	ports := vhostPorts(devices)
	switch {
	case len(ports) == 0:
		return fmt.Errorf("no vhost port %s on this host, nor any other: ports appear when they are bound to this host (batonctl get port)", name)
	case len(ports) > most:
		return fmt.Errorf("no vhost port %s on this host: there are %s and %d more; 'batonctl vhost list' shows all", name, strings.Join(ports[:most], ", "), len(ports)-most)
	}
	return fmt.Errorf("no vhost port %s on this host: there are %s", name, strings.Join(ports, ", "))
}

func fillVhost(t *table, d *hostapi.Vhost) {
	t.row("port", d.Port)
	t.row("socket", d.Socket+" ("+d.Mode+")")
	t.row("connected", yesNo(d.Connected))
	t.row("state", vhostState(d))
	t.row("mtu", d.MTU)
	t.row("queue pairs", fmt.Sprintf("%d of %d in use", d.Active, d.QueuePairs))
	if d.Busy {
		t.row("busy", "the front end holds up one of its own messages; more is not known while it does")
		return
	}
	if d.Connected || len(d.FeatureNames) > 0 { // else there is no driver yet
		t.row("features", d.Features+" "+strings.Join(d.FeatureNames, " "))
		t.row("not acknowledged", strings.Join(missing(d.OfferedNames, d.FeatureNames), " "))
		t.row("protocol features", d.Protocol+" "+strings.Join(d.ProtocolNames, " "))
		t.row("features pinned", pinText(d))
		t.row("header", fmt.Sprintf("%d bytes", d.HeaderBytes))
	}
	t.row("driver status", statusText(d.Status))
	t.row("dirty log", logText(d.Log))
	t.row("disconnects", d.Disconnects)
	for _, name := range sortedKeys(d.Refused) {
		t.row("refused "+name, d.Refused[name])
	}
	for _, e := range sortedKeys(d.Errors) {
		t.row("error "+e, d.Errors[e])
	}
	t.gap()
	fillRings(t, d.Rings)
	if len(d.Regions) > 0 {
		t.gap()
		t.row("MEMORY", "SIZE", "FRONT-END ADDRESS", "FILE OFFSET", "PAGE")
		for _, r := range d.Regions {
			t.row(r.GuestAddr, size(r.Size), r.UserAddr, fmt.Sprintf("%#x", r.FileOffset), size(r.PageSize))
		}
	}
}

func fillRings(t *table, rings []hostapi.Ring) {
	t.row("RING", "GUEST", "STATE", "FORMAT", "SIZE", "AVAIL", "USED", "PACKETS", "SUPER", "PARTIAL", "KICKS", "CALLS", "SUPPRESSED", "ERRORS")
	for _, r := range rings {
		t.row(r.Index, ringVerb(r.Direction), ringState(&r), r.Format, r.Size, position(r.LastAvail, r.AvailWrap), position(r.LastUsed, r.UsedWrap),
			r.Packets, r.Super, r.Partial, r.Kicks, r.Calls, r.Suppressed, counts(r.Errors))
	}
}

func ringVerb(direction string) string {
	if direction == "tx" {
		return "sends"
	}
	return "receives"
}

func ringState(r *hostapi.Ring) string {
	switch {
	case r.Broken != "":
		return "broken: " + r.Broken
	case !r.Started:
		return "stopped"
	case !r.Enabled:
		return "disabled"
	}
	return "running"
}

// position is an index, or a slot with its wrap counter.
func position(n *uint16, wrap *bool) string {
	switch {
	case n == nil:
		return "unknown"
	case wrap == nil:
		return fmt.Sprint(*n)
	case *wrap:
		return fmt.Sprintf("%d/1", *n)
	}
	return fmt.Sprintf("%d/0", *n)
}

func counts(m map[string]uint64) string {
	var all []string
	for _, name := range sortedKeys(m) {
		all = append(all, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(all, ", ")
}

func missing(offered, acked []string) []string {
	return slices.DeleteFunc(slices.Clone(offered), func(name string) bool { return slices.Contains(acked, name) })
}

func pinText(d *hostapi.Vhost) string {
	s := "no: what is configured is offered"
	if d.Pinned {
		s = "yes: this front end is offered what it was offered before"
	}
	if d.Recalled > 0 {
		s += fmt.Sprintf("; it came back without them %d times", d.Recalled)
	}
	return s
}

// statusText names the bits of the device status (virtio 1.2, 2.1).
func statusText(status string) string {
	var bits uint64
	if _, err := fmt.Sscanf(status, "0x%x", &bits); err != nil || bits == 0 {
		return status
	}
	for bit, name := range []string{"ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "", "", "NEEDS_RESET", "FAILED"} {
		if bits>>bit&1 != 0 && name != "" {
			status += " " + name
		}
	}
	return status
}

func logText(l hostapi.DirtyLog) string {
	switch {
	case l.Active && l.Bytes == 0:
		return "wanted, but the front end gave none"
	case l.Active:
		return "in use, " + size(l.Bytes)
	case l.Bytes > 0:
		return "not in use, " + size(l.Bytes)
	}
	return "none"
}

// size is a number of bytes in the largest unit that divides it.
func size(n uint64) string {
	for _, u := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n != 0 && n&(1<<u.shift-1) == 0 {
			return fmt.Sprintf("%d %s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
