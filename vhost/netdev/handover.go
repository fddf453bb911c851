package netdev

import (
	"errors"
	"fmt"
	"slices"

	"baton/vhost/guestmem"
	"baton/vhost/proto"
	"baton/vhost/virtq"
)

// State is all that another device, of this process or of the next one, needs to go on for
// the same guest with the next chain and the next message: the guest and its front end
// notice nothing. Descriptors are -1 for none.
//
//	owner: the descriptors are those of the device that gave the State, until Restore takes
//	them: who sends it to another process sends copies
type State struct {
	Peer        string        `json:"peer"`            // as proto.Backend.Connected told it
	Offered     uint64        `json:"offered"`         // features of the pin
	Pinned      uint64        `json:"pinned"`          // as the pin's front end acknowledged them
	PinPeer     string        `json:"pin_peer"`        // the pin's front end
	Features    uint64        `json:"features"`        // acknowledged
	Protocol    uint64        `json:"protocol"`        // protocol features
	Acked       bool          `json:"acked,omitempty"` // features were set since the last reset
	Recalled    bool          `json:"recalled,omitempty"`
	Spoken      bool          `json:"spoken,omitempty"`
	Status      uint8         `json:"status"`
	MTU         int           `json:"mtu,omitempty"`
	Connected   bool          `json:"connected"`
	ReqFD       int           `json:"req_fd"`
	Regions     []RegionState `json:"regions"`
	Log         *LogState     `json:"log,omitempty"` // nil: none
	Rings       []RingState   `json:"rings"`
	Disconnects uint64        `json:"disconnects"`
	RecallCount uint64        `json:"recall_count"`
}

// RegionState is a part of the guest's memory.
type RegionState struct {
	guestmem.Region
	FD int `json:"fd"`
}

// LogState is the dirty log.
type LogState struct {
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	FD     int    `json:"fd"`
}

// RingState is a ring that stands.
type RingState struct {
	Num        uint32       `json:"num"`
	Desc       uint64       `json:"desc"`
	Avail      uint64       `json:"avail"`
	Used       uint64       `json:"used"`
	HaveAddr   bool         `json:"have_addr"`
	LogUsed    bool         `json:"log_used,omitempty"`
	LogAddr    uint64       `json:"log_addr,omitempty"`
	Word       uint32       `json:"word"`             // where it goes on, see virtq.Config.Base
	Format     string       `json:"format,omitempty"` // "split" or "packed" if Word is certain
	Started    bool         `json:"started"`
	Wanted     bool         `json:"wanted"`
	Poll       bool         `json:"poll,omitempty"` // Kick is the device's own
	Kick       int          `json:"kick"`
	Call       int          `json:"call"`
	Err        int          `json:"err"`
	Totals     Totals       `json:"totals"`
	LastBroken virtq.Reason `json:"last_broken"` // the last reason ever
}

// EachFD calls f for all descriptors of s, in an order that depends on the numbers of
// regions and rings, and on whether there is a log, alone: who sends them to another process
// takes them so from one State and sets them so in the other.
func (s *State) EachFD(f func(fd *int)) {
	f(&s.ReqFD)
	for i := range s.Regions {
		f(&s.Regions[i].FD)
	}
	if s.Log != nil {
		f(&s.Log.FD)
	}
	for i := range s.Rings {
		r := &s.Rings[i]
		f(&r.Kick)
		f(&r.Call)
		f(&r.Err)
	}
}

// Errors of Restore, for errors.Is.
var (
	ErrLacksFeatures = errors.New("this version lacks features that the guest uses")
	ErrQueuePairs    = errors.New("another number of queue pairs")
)

// Suspend stops all rings until Resume: no worker touches the guest's memory any more when
// it returns, and none will. A ring that the guest broke stays off then, as it was. The session
// has been detached before, so that no message comes. To the dataplane the port looks as it
// did.
func (d *Device) Suspend() {
	d.mu.Lock()
	defer d.release()
	for _, r := range d.rings {
		// Until the front end sets it up anew, with a kick descriptor.
		r.started = r.started && (r.live == nil || r.live.Broken() == virtq.ReasonNone)
	}
	d.stop(d.rings...)
	d.suspended = true
}

// Resume goes on where Suspend stopped, or at words, one a ring, where another device
// served the guest meanwhile; then the workers, who may sleep with chains waiting, are the
// caller's to wake: to write to the descriptor of each ring would wake the other device's too.
// Without Suspend it does nothing.
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
	d.suspended, d.silent = false, words != nil
	d.startAll()
	d.silent = false
	d.unmake()
	return nil
}

// ResumeLost is Resume where nobody knows the words: the device that served the guest died.
// Each ring goes on where the guest's memory shows, behind the last chain that was given
// back: what the dead device had taken and not given back is taken again. A packed ring's
// memory does not always tell; then its word is believed, and the log says so. Rings
// that do not start are logged too; Running counts those that did. The workers are the caller's to
// wake, once for all devices: woken for each ring, they would take the CPU from who resumes the rest.
func (d *Device) ResumeLost() {
	d.mu.Lock()
	defer d.release()
	if !d.suspended && !d.mute {
		return
	}
	d.lose()
	d.mute, d.silent = false, true
	d.startAll()
	d.silent = false
	d.unmake()
}

// ResumeLostReceive is the half of ResumeLost by which the guest receives; ResumeLost does the
// rest. Where many devices go on, those that send first would meet some that cannot receive yet.
func (d *Device) ResumeLostReceive() {
	d.mu.Lock()
	defer d.release()
	if !d.suspended {
		return
	}
	d.lose()
	d.mute = true
	d.startAll()
}

// lose ends the suspension: no ring that stands is known to be where it was.
func (d *Device) lose() {
	for _, r := range d.rings {
		if r.live == nil {
			r.baseOf = ""
		}
	}
	d.suspended = false
}

// Running is the number of rings that run and are not broken: whoever goes on for another
// device compares. It waits for a control call that is under way.
//
//	conc: any goroutine but a worker
func (d *Device) Running() (num int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rings {
		if r.live != nil && r.live.Broken() == virtq.ReasonNone {
			num++
		}
	}
	return num
}

// unmake forgets rings that were made ready and did not start: what they were made of may change.
func (d *Device) unmake() {
	for _, r := range d.rings {
		r.made = nil
	}
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
			Kick: r.kick, Call: r.call, Err: r.errfd, Totals: r.past, LastBroken: r.lastBroken,
		})
	}
	return s
}

// close closes the descriptors of a State that is not taken.
func (s *State) close() {
	s.EachFD(func(fd *int) {
		closeFD(*fd)
		*fd = -1
	})
}

// taken is what fd was; the State has it no more.
func taken(fd *int) int {
	was := *fd
	*fd = -1
	return was
}

// Restore is a suspended device in a state, whose descriptors it owns from the call on,
// also on error. The guest's memory is mapped and checked; Resume starts the rings.
//
//	error: as New; ErrLacksFeatures; ErrQueuePairs; memory, log or descriptors that are none
func Restore(cfg Config, s State) (d *Device, err error) {
	s.Regions, s.Rings = slices.Clone(s.Regions), slices.Clone(s.Rings)
	if s.Log != nil {
		l := *s.Log
		s.Log = &l
	}
	defer s.close() // what nobody took
	if lacks := (s.Features | s.Pinned) &^ (implemented | proto.FeatureLogAll); lacks != 0 {
		return nil, fmt.Errorf("vhost %s: %w: %s", cfg.Name, ErrLacksFeatures, proto.FeatureNames(lacks))
	}
	if len(s.Rings) != 2*cfg.QueuePairs {
		return nil, fmt.Errorf("vhost %s: %w: %d, and %d are configured", cfg.Name, ErrQueuePairs, len(s.Rings)/2, cfg.QueuePairs)
	}
	if d, err = New(cfg); err != nil {
		return nil, err
	}
	// Nobody knows the device yet, and nothing that a peer may hold up happens under mu.
	if err = d.restore(&s); err != nil {
		return nil, errors.Join(fmt.Errorf("vhost %s: restore: %w", cfg.Name, err), d.Close())
	}
	return d, nil
}

// restore checks and maps what s has, and then makes a new device as s says.
func (d *Device) restore(s *State) error {
	var bad error
	for i := range s.Rings {
		for _, fd := range []int{s.Rings[i].Kick, s.Rings[i].Call, s.Rings[i].Err} {
			if fd >= 0 && bad == nil {
				if bad = checkEventFD(fd); bad != nil {
					bad = fmt.Errorf("ring %d: %w", i, bad)
				}
			}
		}
	}
	if s.ReqFD >= 0 && bad == nil {
		bad = checkSocket(s.ReqFD)
	}
	if bad != nil {
		return bad
	}
	maps, table, err := d.restoreMemory(s)
	if err != nil {
		return err
	}
	var log *guestmem.Log
	if s.Log != nil {
		if log, err = guestmem.NewLog(taken(&s.Log.FD), s.Log.Offset, s.Log.Size); err == nil && s.Features&proto.FeatureLogAll != 0 {
			err = d.covered(log, table)
		}
		if err != nil {
			closeAll(maps)
			if log != nil {
				log.Close()
			}
			return err
		}
	}
	d.mu.Lock()
	defer d.release()
	d.suspended, d.maps, d.table, d.log = true, maps, table, log
	d.peer, d.pin = s.Peer, pin{Peer: s.PinPeer, Offered: s.Offered, Acked: s.Pinned}
	d.features, d.protocol, d.acked, d.recalled, d.spoken = s.Features, s.Protocol, s.Acked, s.Recalled, s.Spoken
	d.status, d.mtu, d.connected, d.reqFD = s.Status, s.MTU, s.Connected, taken(&s.ReqFD)
	d.counts.Disconnects.Add(s.Disconnects)
	d.counts.Recalled.Add(s.RecallCount)
	for i := range s.Rings {
		r := d.rings[i]
		d.restoreRing(r, &s.Rings[i])
		if r.started && r.num != 0 && r.haveAddr && len(d.maps) > 0 {
			// Resume says why, if it cannot be made.
			r.made, _ = virtq.Make(d.table, d.ringConfig(r), d.onBroken)
		}
	}
	return nil
}

// restoreMemory maps the guest's memory; none is none yet.
func (d *Device) restoreMemory(s *State) (maps []*guestmem.Mapping, table *guestmem.Table, err error) {
	if len(s.Regions) == 0 {
		return nil, &guestmem.Table{}, nil
	}
	var regions []proto.MemRegion
	for i := range s.Regions {
		r := &s.Regions[i]
		regions = append(regions, proto.MemRegion{GuestAddr: r.GuestAddr, Size: r.Size, UserAddr: r.UserAddr, MmapOffset: r.MmapOffset, FD: taken(&r.FD)})
	}
	if maps, err = d.mapAll(regions); err != nil {
		return nil, nil, err
	}
	if table, err = guestmem.NewTable(maps); err != nil {
		closeAll(maps)
		return nil, nil, err
	}
	for _, m := range maps { // now nobody waits for it
		m.Populate()
	}
	return maps, table, nil
}

// restoreRing makes r as s says and takes its descriptors. Caller holds mu.
func (d *Device) restoreRing(r *ring, s *RingState) {
	r.num, r.desc, r.avail, r.used, r.haveAddr = s.Num, s.Desc, s.Avail, s.Used, s.HaveAddr
	r.logUsed, r.logAddr = s.LogUsed, s.LogAddr
	r.base, r.baseOf, r.started, r.wanted, r.poll = s.Word, s.Format, s.Started, s.Wanted, s.Poll
	r.past, r.lastBroken = s.Totals, s.LastBroken
	r.call, r.errfd = taken(&s.Call), taken(&s.Err)
	d.setKick(r, taken(&s.Kick))
}
