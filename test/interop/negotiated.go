package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"baton/hostapi"
	"baton/test/cluster"
)

// vhostShow is the operator's view of a port: batonctl vhost show PORT -o json.
func (n *network) vhostShow(p port) (v hostapi.Vhost, err error) {
	return v, n.Host(p.host).Ask(&v, "vhost", "show", p.name)
}

// checkNegotiated says how a port differs from what the cell says.
func checkNegotiated(c cell, v hostapi.Vhost) error {
	var wrong []string
	for name, want := range c.features() {
		if slices.Contains(v.FeatureNames, name) != want {
			wrong = append(wrong, map[bool]string{true: "no ", false: "unwanted "}[want]+name)
		}
	}
	sort.Strings(wrong)
	active := map[string]int{}
	for _, r := range v.Rings {
		if !r.Started || !r.Enabled {
			continue
		}
		active[r.Direction]++
		if r.Format != c.Ring {
			wrong = append(wrong, fmt.Sprintf("ring %d is %s", r.Index, r.Format))
		}
	}
	for _, direction := range []string{"rx", "tx"} {
		if active[direction] != c.Queues {
			wrong = append(wrong, fmt.Sprintf("%d of %d %s rings active", active[direction], c.Queues, direction))
		}
	}
	if v.HeaderBytes != 12 {
		wrong = append(wrong, fmt.Sprintf("headers of %d bytes", v.HeaderBytes))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s negotiated otherwise than the cell says: %s; features %s", v.Port, strings.Join(wrong, ", "), strings.Join(v.FeatureNames, " "))
	}
	return nil
}

// since takes from the counts of v those of before, the same port's at the begin of
// the cell: batond counts from its own start.
func since(v, before hostapi.Vhost) hostapi.Vhost {
	v.Rings = slices.Clone(v.Rings)
	for i := range min(len(v.Rings), len(before.Rings)) {
		v.Rings[i].Packets -= before.Rings[i].Packets
		v.Rings[i].Super -= before.Rings[i].Super
	}
	return v
}

// checkUsed says which active rings of a port moved nothing, or broke. What comes
// from the wire goes by the rings of the one worker that polls the wire, so that of
// the rx rings of such a port one is enough.
func checkUsed(v hostapi.Vhost, fromWire bool) error {
	var errs, idle []error
	rx := 0
	for _, r := range v.Rings {
		switch {
		case r.Broken != "":
			errs = append(errs, fmt.Errorf("%s: ring %d broke: %s", v.Port, r.Index, r.Broken))
		case !r.Started || !r.Enabled:
		case r.Packets == 0 && r.Direction == "rx":
			idle = append(idle, fmt.Errorf("%s: rx ring %d is active and has moved nothing", v.Port, r.Index))
		case r.Packets == 0:
			errs = append(errs, fmt.Errorf("%s: tx ring %d is active and has moved nothing", v.Port, r.Index))
		case r.Direction == "rx":
			rx++
		}
	}
	if !fromWire || rx == 0 {
		errs = append(errs, idle...)
	}
	if len(v.Errors) > 0 {
		errs = append(errs, fmt.Errorf("%s: vhost errors %v", v.Port, v.Errors))
	}
	return errors.Join(errs...)
}

// checkSupers holds that super-segments passed as they are where both ends of the
// cell can, and nowhere else: whole to a guest on the same host, cut to the wire.
func checkSupers(c cell, v hostapi.Vhost, acrossHosts bool) error {
	sum := map[string]uint64{}
	for _, r := range v.Rings {
		sum[r.Direction] += r.Super
	}
	wantTx, wantRx := *c.Offloads, *c.Offloads && !acrossHosts
	if sum["tx"] > 0 != wantTx || sum["rx"] > 0 != wantRx {
		return fmt.Errorf("%s: %d super-segments from the guest, %d to it; want some: %v, %v", v.Port, sum["tx"], sum["rx"], wantTx, wantRx)
	}
	return nil
}

// waitGone waits until the ports' sessions have ended, so that the next cell
// does not take this one's for its own.
func (n *network) waitGone(ports ...port) error {
	for _, p := range ports {
		var last error
		err := n.lab.WaitFor("end of the session of "+p.name, waitLimit, func() bool {
			devices, err := n.Host(p.host).API.Vhosts(n.lab.Context())
			last = err
			return err == nil && slices.ContainsFunc(devices, func(v hostapi.Vhost) bool { return v.Port == p.name && !v.Connected })
		})
		if err != nil {
			return errors.Join(err, last)
		}
	}
	return nil
}

// conserved holds the books of both hosts to account.
func conserved(hosts ...*cluster.Host) error {
	for _, h := range hosts {
		if _, err := h.CheckConserved(); err != nil {
			return err
		}
	}
	return nil
}
