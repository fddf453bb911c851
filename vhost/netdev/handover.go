package netdev

import (
	"errors"
	"fmt"

	"baton/vhost/guestmem"
	"baton/vhost/proto"
)

// State is all that another device, of this process or of the next one, needs to go on for
// the same guest with the next chain and the next message: the guest and its front end
// notice nothing. Descriptors are -1 for none.
//
//	owner: the descriptors are those of the device that gave the State, until Restore takes
//	them: who sends it to another process sends copies
type State struct {
	Peer                     string // as proto.Backend.Connected told it
	Offered, Pinned          uint64 // features of the pin, whose front end is PinPeer
	PinPeer                  string
	Features, Protocol       uint64
	Acked, Recalled, Spoken  bool
	Status                   uint8
	MTU                      int
	Connected                bool
	ReqFD                    int
	Regions                  []RegionState
	Log                      *LogState // nil: none
	Rings                    []RingState
	Disconnects, RecallCount uint64
}

// RegionState is a part of the guest's memory.
type RegionState struct {
	guestmem.Region
	FD int
}

// LogState is the dirty log.
type LogState struct {
	Offset, Size uint64
	FD           int
}

// RingState is a ring that stands.
type RingState struct {
	Num               uint32
	Desc, Avail, Used uint64
	HaveAddr          bool
	LogUsed           bool
	LogAddr           uint64
	Word              uint32 // where it goes on, see virtq.Config.Base
	Format            string // "split" or "packed" if Word is certain
	Started, Wanted   bool
	Poll              bool // Kick is the device's own
	Kick, Call, Err   int
	Totals            Totals
}

// Errors of Restore, for errors.Is.
var (
	ErrLacksFeatures = errors.New("this version lacks features that the guest uses")
	ErrQueuePairs    = errors.New("another number of queue pairs")
)

// Suspend stops all rings, for good until Resume: no worker touches the guest's memory any
// more when it returns, and none will. The session has been detached before, so that no
// message comes. To the dataplane the port looks as it did.
func (d *Device) Suspend() {
	d.mu.Lock()
	defer d.release()
	d.stop(d.rings...)
	d.suspended = true
}

// Resume goes on where Suspend stopped, or at words, one a ring, where another device
// served the guest meanwhile. Without Suspend it does nothing.
//
//	error: not as many words as rings
func (d *Device) Resume(words []uint32) error {
	d.mu.Lock()
	defer d.release()
	if !d.suspended {
		return nil
	}
	if words != nil && len(words) != len(d.rings) {
		return fmt.Errorf("vhost %s: %d words for %d rings", d.cfg.Name, len(words), len(d.rings))
	}
	for i, w := range words {
		if d.rings[i].started {
			d.rings[i].base, d.rings[i].baseOf = w, d.format()
		}
	}
	d.suspended = false
	d.startAll()
	return nil
}

// Words is where the rings stand, for Resume of another device. Suspend came before.
func (d *Device) Words() (words []uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rings {
		words = append(words, r.base)
	}
	return words
}

// State is the device's; while rings run, all but their Word and Totals is as it will be.
func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := State{
		Peer: d.peer, Offered: d.pin.Offered, Pinned: d.pin.Acked, PinPeer: d.pin.Peer,
		Features: d.features, Protocol: d.protocol, Acked: d.acked, Recalled: d.recalled, Spoken: d.spoken,
		Status: d.status, MTU: d.mtu, Connected: d.connected, ReqFD: d.reqFD,
		Disconnects: d.counts.Disconnects.Load(), RecallCount: d.counts.Recalled.Load(),
	}
	for _, m := range d.maps {
		s.Regions = append(s.Regions, RegionState{m.Region, m.FD})
	}
	if d.log != nil {
		fd, offset := d.log.File()
		s.Log = &LogState{Offset: offset, Size: d.log.Size(), FD: fd}
	}
	for _, r := range d.rings {
		s.Rings = append(s.Rings, RingState{
			Num: r.num, Desc: r.desc, Avail: r.avail, Used: r.used, HaveAddr: r.haveAddr, LogUsed: r.logUsed, LogAddr: r.logAddr,
			Word: r.base, Format: r.baseOf, Started: r.started, Wanted: r.wanted, Poll: r.poll,
			Kick: r.kick, Call: r.call, Err: r.errfd, Totals: r.past,
		})
	}
	return s
}

// close closes the descriptors of a State that is not taken.
func (s *State) close() {
	fds := []int{s.ReqFD}
	for _, r := range s.Regions {
		fds = append(fds, r.FD)
	}
	if s.Log != nil {
		fds = append(fds, s.Log.FD)
	}
	for _, r := range s.Rings {
		fds = append(fds, r.Kick, r.Call, r.Err)
	}
	for _, fd := range fds {
		closeFD(fd)
	}
}

// Restore is a suspended device in a state, whose descriptors it owns from the call on,
// also on error. The guest's memory is mapped and checked; Resume starts the rings.
//
//	error: as New; ErrLacksFeatures; ErrQueuePairs; memory, log or descriptors that are none
func Restore(cfg Config, s State) (d *Device, err error) {
	if lacks := (s.Features | s.Pinned) &^ (implemented | proto.FeatureLogAll); lacks != 0 {
		s.close()
		return nil, fmt.Errorf("vhost %s: %w: %s", cfg.Name, ErrLacksFeatures, proto.FeatureNames(lacks))
	}
	if len(s.Rings) != 2*cfg.QueuePairs {
		s.close()
		return nil, fmt.Errorf("vhost %s: %w: %d, and %d are configured", cfg.Name, ErrQueuePairs, len(s.Rings)/2, cfg.QueuePairs)
	}
	if d, err = New(cfg); err != nil {
		s.close()
		return nil, err
	}
	if err = d.restore(&s); err != nil {
		return nil, errors.Join(fmt.Errorf("vhost %s: restore: %w", cfg.Name, err), d.Close())
	}
	return d, nil
}

// restore makes a new device as s says. What s has and d does not take is closed.
func (d *Device) restore(s *State) (err error) {
	d.mu.Lock()
	defer d.release()
	d.suspended = true
	d.peer, d.pin = s.Peer, pin{Peer: s.PinPeer, Offered: s.Offered, Acked: s.Pinned}
	d.features, d.protocol, d.acked, d.recalled, d.spoken = s.Features, s.Protocol, s.Acked, s.Recalled, s.Spoken
	d.status, d.mtu, d.connected = s.Status, s.MTU, s.Connected
	d.counts.Disconnects.Add(s.Disconnects)
	d.counts.Recalled.Add(s.RecallCount)
	defer func() { s.close() }() // what is left of it
	for i := range s.Rings {
		if err = d.rings[i].restore(&s.Rings[i], d); err != nil {
			return fmt.Errorf("ring %d: %w", i, err)
		}
	}
	if s.ReqFD >= 0 {
		if err = checkSocket(s.ReqFD); err != nil {
			return err
		}
		d.reqFD, s.ReqFD = s.ReqFD, -1
	}
	if len(s.Regions) > 0 {
		var regions []proto.MemRegion
		for i, r := range s.Regions {
			regions = append(regions, proto.MemRegion{GuestAddr: r.GuestAddr, Size: r.Size, UserAddr: r.UserAddr, MmapOffset: r.MmapOffset, FD: r.FD})
			s.Regions[i].FD = -1
		}
		if d.maps, err = d.mapAll(regions); err != nil {
			return err
		}
		if d.table, err = guestmem.NewTable(d.maps); err != nil {
			d.table = &guestmem.Table{}
			return err
		}
	}
	if s.Log != nil {
		fd := s.Log.FD
		s.Log.FD = -1
		if d.log, err = guestmem.NewLog(fd, s.Log.Offset, s.Log.Size); err != nil {
			d.log = nil
			return err
		}
		return d.covered(d.activeLog(), d.table)
	}
	return nil
}

// restore makes r as s says and takes its descriptors, those of eventfds.
func (r *ring) restore(s *RingState, d *Device) error {
	for _, fd := range []int{s.Kick, s.Call, s.Err} {
		if fd < 0 {
			continue
		}
		if err := checkEventFD(fd); err != nil {
			return err
		}
	}
	r.num, r.desc, r.avail, r.used, r.haveAddr = s.Num, s.Desc, s.Avail, s.Used, s.HaveAddr
	r.logUsed, r.logAddr = s.LogUsed, s.LogAddr
	r.base, r.baseOf, r.started, r.wanted, r.poll = s.Word, s.Format, s.Started, s.Wanted, s.Poll
	r.past = s.Totals
	r.call, r.errfd = s.Call, s.Err
	d.setKick(r, s.Kick)
	s.Kick, s.Call, s.Err = -1, -1, -1
	return nil
}
