package main

import (
	"fmt"
	"sync"

	"baton/hostapi"
	"baton/vhost/netdev"
	"baton/vhost/proto"
	"baton/vhost/virtq"
)

// Vhosts implements hostapi.Source. No front end can hold it up: see netdev.Snapshot.
func (s *source) Vhosts() ([]hostapi.Vhost, error) {
	ports := s.guests.list()
	all := make([]hostapi.Vhost, len(ports))
	var wg sync.WaitGroup // so that many busy devices take no longer than one
	for i, p := range ports {
		wg.Go(func() { all[i] = s.vhost(p, s.guests.mode) })
	}
	wg.Wait()
	return all, nil
}

func (s *source) vhost(p *guestPort, mode proto.Mode) hostapi.Vhost {
	d := p.device.Snapshot()
	connected, refusals := s.guests.session(p)
	v := hostapi.Vhost{
		Port: d.Name, Socket: d.Socket, Mode: mode.String(), Connected: connected,
		Up: d.Up, QueuePairs: d.QueuePairs, Active: d.ActiveQueues, MTU: d.MTU, Busy: d.Busy,
		Offered: fmt.Sprintf("%#x", d.Offered), OfferedNames: proto.FeatureNames(d.Offered),
		Features: fmt.Sprintf("%#x", d.Features), FeatureNames: proto.FeatureNames(d.Features),
		Pinned: d.Pinned, Recalled: d.Recalled,
		Protocol: fmt.Sprintf("%#x", d.ProtocolFeatures), ProtocolNames: proto.ProtocolFeatureNames(d.ProtocolFeatures),
		HeaderBytes: d.HeaderSize, Status: fmt.Sprintf("%#x", d.Status),
		Rings: []hostapi.Ring{}, Regions: []hostapi.Region{}, Log: hostapi.DirtyLog{Active: d.Logging, Bytes: d.LogSize},
		Disconnects: d.Disconnects, Refused: refusals, Errors: map[string]uint64{},
	}
	for reason, n := range d.Broken {
		v.Errors["ring_broken_"+reason] = n
	}
	if d.Refused > 0 {
		v.Errors["message_refused"] = d.Refused
	}
	for i := range d.Rings {
		v.Rings = append(v.Rings, vhostRing(&d.Rings[i]))
	}
	for _, r := range d.Regions {
		v.Regions = append(v.Regions, hostapi.Region{
			GuestAddr: fmt.Sprintf("%#x", r.GuestAddr), UserAddr: fmt.Sprintf("%#x", r.UserAddr), Size: r.Size,
			FileOffset: r.MmapOffset, PageSize: r.PageSize,
		})
	}
	return v
}

func vhostRing(r *netdev.RingInfo) hostapi.Ring {
	t := &r.Totals
	h := hostapi.Ring{
		Index: r.Index, Direction: r.Direction, Format: r.Format, Size: r.Size, Started: r.Started, Enabled: r.Enabled,
		Packets: t.Packets, Bytes: t.Bytes,
		Super: t.GSO, Partial: t.Partial, DataValid: t.DataValid,
		Kicks: r.Kicks, Calls: t.Calls, Suppressed: t.Suppressed, Errors: map[string]uint64{},
	}
	if r.Indices.AvailKnown {
		h.LastAvail, h.AvailWrap = position(r.Indices.Avail, r.Format)
	}
	if r.Indices.UsedKnown {
		h.LastUsed, h.UsedWrap = position(r.Indices.Used, r.Format)
	}
	for name, n := range map[string]uint64{
		"short_frame": t.ShortFrame, "too_big": t.TooBig, "bad_header": t.BadHeader, "unfinished": t.Unfinished,
		"discarded": t.Discarded, "no_buffer": t.NoBuffer, "full": t.Full, "calls_full": t.CallsFull, "calls_bad": t.CallsBad,
	} {
		if n > 0 {
			h.Errors[name] = n
		}
	}
	none := virtq.ReasonNone.String()
	if r.Broken != none {
		h.Broken = r.Broken
	}
	if r.LastBroken != none {
		h.LastBroken = r.LastBroken
	}
	return h
}

// position is a ring's index, of a packed ring with its wrap counter apart.
func position(index uint16, format string) (at *uint16, wrap *bool) {
	if format != "packed" {
		return &index, nil
	}
	const counter = 1 << 15
	slot, w := index&^counter, index&counter != 0
	return &slot, &w
}
