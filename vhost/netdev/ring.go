package netdev

import (
	"errors"
	"fmt"
	"sync/atomic"

	"baton/vhost/peerfd"
	"baton/vhost/proto"
	"baton/vhost/virtq"

	"golang.org/x/sys/unix"
)

// ring is the control side's view of one virtqueue. Guarded by Device.mu.
type ring struct {
	index             int
	num               uint32
	desc, avail, used uint64
	haveAddr          bool
	base              uint32 // state word, see virtq.Config
	baseOf            string // format of the ring that was stopped there, and not broken; empty: base is the front end's word
	logUsed           bool   // writes to the used ring are logged
	logAddr           uint64 // as if it lay there
	started           bool   // SET_VRING_KICK was seen
	wanted            bool   // by SET_VRING_ENABLE
	kick, call, errfd int
	poll              bool // the front end gave no kick descriptor; kick is our own

	live       virtq.Ring // nil while not running
	made       virtq.Ring // what a suspended device has ready for Resume, nil for none
	noted      bool       // that live broke
	lastBroken virtq.Reason
	past       Totals // of rings that ran before live
}

func newRing(index int) *ring {
	return &ring{index: index, kick: -1, call: -1, errfd: -1}
}

var (
	errRunning  = errors.New("the ring is running: stop it first")
	errBase     = errors.New("want at most 65535")
	errNotEvent = errors.New("the descriptor is not an eventfd")

	errNotSocket = errors.New("the descriptor is not a Unix stream socket")
)

// ringConfig is what virtq needs to run r under the device's features.
func (d *Device) ringConfig(r *ring) virtq.Config {
	return virtq.Config{
		Num: r.num, Desc: r.desc, Avail: r.avail, Used: r.used, Base: r.base, BaseSure: r.baseOf == d.format(),
		HeaderSize: headerSize(d.features),
		Mergeable:  d.features&proto.FeatureMrgRxbuf != 0,
		Indirect:   d.features&proto.FeatureIndirectDesc != 0,
		EventIdx:   d.features&proto.FeatureEventIdx != 0,
		Packed:     d.packed(),
		InOrder:    d.features&proto.FeatureInOrder != 0,
		Net:        meant(d.features),
		Log:        d.activeLog(),
		LogUsed:    r.logUsed, LogUsedAddr: r.logAddr,
	}
}

// packed and split tell the format of all rings. Neither is true while it is not known:
// before features were acknowledged, or when the front end may have forgotten them. Caller
// holds mu.
func (d *Device) packed() bool { return d.features&proto.FeatureRingPacked != 0 }
func (d *Device) split() bool  { return d.acked && !d.packed() && !d.forgot() }

// headerSize is the length of virtio_net_hdr in bytes: num_buffers is part of it
// with VERSION_1 or MRG_RXBUF (virtio 1.2, 5.1.6).
func headerSize(features uint64) int {
	if features&(proto.FeatureVersion1|proto.FeatureMrgRxbuf) != 0 {
		return 12
	}
	return 10
}

// ready tells whether r has all it needs to run.
func (d *Device) ready(r *ring) bool {
	return r.started && r.num != 0 && r.haveAddr && len(d.maps) > 0 && !d.suspended && !(d.mute && r.index&1 == 1)
}

// start makes r run if it is ready and does not. Caller holds mu.
func (d *Device) start(r *ring) error {
	if r.live != nil || !d.ready(r) {
		return nil
	}
	if d.forgot() && d.inProgress(r) {
		d.recall()
		if r.live != nil {
			return nil
		}
	}
	sure := r.baseOf == d.format()
	live, err := d.begin(r)
	if err != nil {
		return err
	}
	live.Call().Set(r.call)
	live.Err().Set(r.errfd)
	r.live, r.noted = live, false
	if r.index == 0 && d.features&proto.FeatureVersion1 == 0 {
		d.warn("no VERSION_1 acknowledged: legacy headers; if frames look shifted, the front end lost its features: reset the guest's device",
			"features", fmt.Sprintf("%#x", d.features))
	}
	if q, ok := live.(*virtq.Packed); ok && q.Doubtful() {
		d.warn("a packed ring's memory does not tell where to go on, and the front end's word is believed; after a crash it is wrong: if the port's packets stand still, reset the guest's device",
			"ring", r.index, "base", fmt.Sprintf("%#x", r.base))
	}
	d.publish(r)
	if !sure {
		// Whoever ran the ring before may have died after its last completion and before
		// the call for it. A call too many does no harm.
		live.Call().Signal()
	}
	return nil
}

// begin is a ring for r that has begun.
func (d *Device) begin(r *ring) (virtq.Ring, error) {
	cfg := d.ringConfig(r)
	if r.made == nil {
		return virtq.New(d.table, cfg, d.onBroken)
	}
	live := r.made
	r.made = nil
	return live, live.Begin(cfg.Base, cfg.BaseSure)
}

// startAll starts what can run; the rest waits for memory or addresses.
func (d *Device) startAll() {
	for _, r := range d.rings {
		if err := d.start(r); err != nil {
			d.warn("ring does not start", "ring", r.index, "error", err)
		}
	}
}

// slotOf is where r's worker looks for it.
func (d *Device) slotOf(r *ring) *atomic.Pointer[slot] {
	q := d.queues[r.index/2]
	if r.index&1 == 1 {
		return &q.rx
	}
	return &q.tx
}

// enabled tells whether frames pass r: without PROTOCOL_FEATURES a ring is enabled
// from its start, else by SET_VRING_ENABLE.
func (d *Device) enabled(r *ring) bool {
	return r.wanted || d.features&proto.FeatureProtocol == 0
}

// publish shows a running ring to its worker, and wakes it unless d is silent: it may sleep with
// chains waiting in a ring that it could not see before.
func (d *Device) publish(r *ring) {
	d.slotOf(r).Store(&slot{ring: r.live, enabled: d.enabled(r), poll: r.poll, takes: virtq.Offloads(meant(d.features))})
	if r.index&1 == 1 && !d.silent {
		signal(r.kick)
	}
}

// signal adds one to eventfd fd, if it is one.
func signal(fd int) {
	var e virtq.EventFD
	e.Set(fd)
	e.Signal()
}

// stop takes the given rings from their workers and keeps their state words.
func (d *Device) stop(rings ...*ring) {
	running := false
	for _, r := range rings {
		if r.live != nil {
			d.slotOf(r).Store(nil)
			running = true
		}
	}
	if !running {
		return
	}
	d.cfg.Quiescer.Quiesce()
	d.noteBroken()
	for _, r := range rings {
		if r.live != nil {
			r.base, r.baseOf = r.live.State(), ""
			if r.live.Owes() { // a call too many does no harm
				r.live.Call().Signal()
			}
			if r.live.Broken() == virtq.ReasonNone {
				r.baseOf = d.format()
			}
			r.past.add(r.live.Stats())
			r.live = nil
		}
	}
}

// setKick replaces r's kick descriptor and closes the old one.
func (d *Device) setKick(r *ring, fd int) {
	if r.index&1 == 1 {
		d.queues[r.index/2].setKick(fd)
	}
	closeFD(r.kick)
	r.kick = fd
}

// clear closes all descriptors of a stopped ring and forgets its set-up.
func (d *Device) clear(r *ring) {
	d.setKick(r, -1)
	closeFD(r.call)
	closeFD(r.errfd)
	r.call, r.errfd = -1, -1
	d.forget(r)
}

// forget makes r as it was before SET_FEATURES.
func (d *Device) forget(r *ring) {
	r.num, r.haveAddr, r.base, r.baseOf = 0, false, 0, ""
	r.logUsed, r.logAddr = false, 0
	r.started, r.wanted = false, false
}

func closeFD(fd int) { peerfd.Close(fd) }

// takeEventFD refuses what is no eventfd, and makes it non-blocking. fd -1 passes.
// What is refused is closed, which the peer may hold up (a file of its own FUSE): the
// caller does not hold mu.
//
//	out: fd, or -1 with an error
func takeEventFD(fd int) (int, error) {
	err := checkEventFD(fd)
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func checkEventFD(fd int) error {
	if fd < 0 {
		return nil
	}
	if !peerfd.IsEventFD(fd) {
		name, err := peerfd.Name(fd)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotEvent, err)
		}
		return fmt.Errorf("%w but %q", errNotEvent, name)
	}
	return unix.SetNonblock(fd, true)
}

// checkSocket refuses what is no Unix stream socket: fd must be what a front end reads
// messages from.
func checkSocket(fd int) error {
	is, stream := peerfd.IsUnixSocket(fd)
	switch {
	case stream:
		return nil
	case is:
		return fmt.Errorf("%w but one of datagrams or packets", errNotSocket)
	}
	name, err := peerfd.Name(fd)
	if err != nil {
		return fmt.Errorf("%w (%w)", errNotSocket, err)
	}
	return fmt.Errorf("%w but %q", errNotSocket, name)
}
