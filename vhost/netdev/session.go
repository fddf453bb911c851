package netdev

import (
	"errors"
	"fmt"
	"slices"

	"baton/vhost/guestmem"
	"baton/vhost/peerfd"
	"baton/vhost/proto"
	"baton/vhost/virtq"

	"golang.org/x/sys/unix"
)

// Bounds of an MTU, bytes: what IPv4 asks of every link, and virtio's 16 bits.
const (
	minMTU = 68
	maxMTU = 65535
)

var (
	errNotOffered = errors.New("not offered")
	errRingIndex  = errors.New("no such ring")
	errMTU        = fmt.Errorf("want %d to %d", minMTU, maxMTU)
)

// NumRings implements proto.Backend.
func (d *Device) NumRings() int { return len(d.rings) }

// NumQueuePairs implements proto.Backend.
func (d *Device) NumQueuePairs() int { return len(d.queues) }

// SetOwner implements proto.Backend.
func (d *Device) SetOwner() error {
	d.enter()
	d.release()
	return nil
}

// Reset implements proto.Backend. Memory stays mapped: QEMU sends only differences
// after a guest's reset. Call and error descriptors stay for the same reason.
func (d *Device) Reset() error {
	d.enter()
	defer d.release()
	d.driverReset()
	return nil
}

// driverReset is a reset that the guest's driver, or the front end for it, asked for:
// the driver after it may acknowledge what it likes. Caller holds mu.
func (d *Device) driverReset() {
	d.reset()
	if d.pinned() {
		d.setPin(pin{Peer: d.pin.Peer, Offered: d.pin.Offered})
	}
}

func (d *Device) reset() {
	d.stop(d.rings...)
	for _, r := range d.rings {
		d.setKick(r, -1)
		d.forget(r)
	}
	d.features, d.acked, d.recalled, d.status = 0, false, false, 0
}

// Status implements proto.Backend.
func (d *Device) Status() uint8 {
	d.enter()
	defer d.release()
	return d.status
}

// SetStatus implements proto.Backend; 0 is a reset.
func (d *Device) SetStatus(status uint8) error {
	d.enter()
	defer d.release()
	if status == 0 {
		d.driverReset()
	}
	d.status = status
	return nil
}

// SetMTU implements proto.Backend.
func (d *Device) SetMTU(mtu uint16) error {
	d.enter()
	defer d.release()
	if mtu < minMTU {
		return d.refuse(fmt.Sprintf("set MTU %d", mtu), errMTU)
	}
	if d.cfg.MTU != 0 && int(mtu) > d.cfg.MTU {
		d.warn("the front end's MTU is larger than the network's: large packets will be dropped; lower host_mtu",
			"mtu", mtu, "network", d.cfg.MTU)
	}
	d.mtu = int(mtu)
	return nil
}

// SetBackendReqFD implements proto.Backend: the socket is kept open; we have nothing
// to ask of a front end. Closing one waits for what was sent to it, so that nobody does
// it with the device locked, and no other is taken meanwhile.
func (d *Device) SetBackendReqFD(fd int) error {
	err := checkSocket(fd)
	d.enter()
	if err == nil && d.heldUp() {
		err = proto.ErrHeldUp
	}
	if err != nil {
		defer d.release()
		return d.refuse("set backend request fd", err)
	}
	old := d.reqFD
	d.reqFD = fd
	d.release()
	d.closeSocket(old)
	return nil
}

// closeSocket closes a former reqFD. The caller does not hold mu.
func (d *Device) closeSocket(fd int) {
	late := peerfd.Close(fd)
	d.mu.Lock()
	defer d.mu.Unlock()
	if late != nil {
		d.late = append(d.late, late)
	}
}

// heldUp tells whether former sockets are still not closed. Caller holds mu.
func (d *Device) heldUp() bool {
	d.late = slices.DeleteFunc(d.late, func(l peerfd.Late) bool { return !l.Pending() })
	return len(d.late) > 0
}

// Disconnected implements proto.Backend.
func (d *Device) Disconnected() {
	d.mu.Lock()
	if d.connected {
		d.counts.Disconnects.Add(1)
	}
	fd := d.drop()
	d.release()
	d.closeSocket(fd)
}

// drop ends all that came with a session, but for the descriptor that it returns: the
// caller, who holds mu, closes it when he does not any more.
func (d *Device) drop() (reqFD int) {
	d.reset()
	for _, r := range d.rings {
		d.clear(r)
	}
	d.dropLog()
	closeAll(d.maps)
	reqFD, d.reqFD = d.reqFD, -1
	d.maps, d.table = nil, &guestmem.Table{}
	d.protocol, d.mtu, d.connected, d.spoken = 0, 0, false, false
	return reqFD
}

// at is ring i; the session has checked the index, so this is a second lock on the door.
func (d *Device) at(i int) (*ring, error) {
	if i < 0 || i >= len(d.rings) {
		return nil, errRingIndex
	}
	return d.rings[i], nil
}

// SetVringNum implements proto.Backend.
func (d *Device) SetVringNum(i int, num uint32) error {
	d.enter()
	defer d.release()
	r, err := d.at(i)
	switch {
	case err != nil:
	case num == 0 || num > guestmem.MaxPackedNum:
		err = guestmem.ErrPackedSize
	case num&(num-1) != 0 && d.split(): // before the format is known it may be a packed ring's
		err = guestmem.ErrRingSize
	case r.live != nil && num != r.num:
		err = errRunning
	default:
		return d.configure(r, "size", func() { r.num = num })
	}
	return d.refuse(fmt.Sprintf("ring %d: set size %d", i, num), err)
}

// SetVringAddr implements proto.Backend. Front ends send it again while the ring
// runs, also with other addresses.
func (d *Device) SetVringAddr(a proto.VringAddr) error {
	d.enter()
	defer d.release()
	what := fmt.Sprintf("ring %d: set address", a.Index)
	r, err := d.at(int(a.Index))
	if err != nil {
		return d.refuse(what, err)
	}
	if a.Flags&^vringLog != 0 {
		return d.refuse(what, fmt.Errorf("flags %#x: %w", a.Flags, errNotOffered))
	}
	if err := d.checkAddr(a); err != nil {
		return d.refuse(what, err)
	}
	next := *r
	next.desc, next.avail, next.used, next.haveAddr = a.Desc, a.Avail, a.Used, true
	next.logUsed, next.logAddr = a.Flags&vringLog != 0, a.Log
	if r.live != nil {
		if err := r.live.SetView(d.table, d.ringConfig(&next)); err != nil {
			return d.refuse(what, err)
		}
		d.cfg.Quiescer.Quiesce() // from the answer on, writes are logged as it says
	}
	return d.configure(r, "address", func() { *r = next })
}

// vringLog is the flag of SET_VRING_ADDR that asks to log the used ring's writes
// (VHOST_VRING_F_LOG).
const vringLog = 1

// checkAddr checks the addresses that need no memory, as the ring's format has them.
func (d *Device) checkAddr(a proto.VringAddr) error {
	switch {
	case d.packed():
		return guestmem.CheckPackedAddr(a.Desc, a.Avail, a.Used)
	case d.split():
		return guestmem.CheckSplitAddr(a.Desc, a.Avail, a.Used)
	}
	return nil // the format is not known: a ring that starts is checked again
}

// SetVringBase implements proto.Backend.
func (d *Device) SetVringBase(i int, base uint32) error {
	d.enter()
	defer d.release()
	r, err := d.at(i)
	switch {
	case err != nil:
	case d.split() && base > 0xffff:
		err = errBase
	case d.packed() && r.num != 0 && base&0x7fff >= r.num:
		err = virtq.ErrBase
	case r.live != nil:
		err = errRunning
	case base != r.base: // else it gives back what it was told
		r.base, r.baseOf = base, ""
		return nil
	default:
		return nil
	}
	return d.refuse(fmt.Sprintf("ring %d: set base %d", i, base), err)
}

// configure applies one setting and starts the ring if that was the last one it
// lacked; else it takes the setting back.
func (d *Device) configure(r *ring, what string, apply func()) error {
	before := *r
	apply()
	if err := d.start(r); err != nil {
		*r = before
		return d.refuse(fmt.Sprintf("ring %d: set %s", r.index, what), err)
	}
	return nil
}

// GetVringBase implements proto.Backend. A ring that never ran returns the base it was told.
func (d *Device) GetVringBase(i int) (uint32, error) {
	d.enter()
	defer d.release()
	r, err := d.at(i)
	if err != nil {
		return 0, d.refuse(fmt.Sprintf("ring %d: get base", i), err)
	}
	d.stop(r)
	r.started = false
	d.setKick(r, -1)
	closeFD(r.call)
	r.call = -1
	return r.base, nil
}

// SetVringKick implements proto.Backend: it starts the ring. Where the front end
// gives no descriptor, one of our own takes its place: the worker may sleep, since it
// saw no ring, and must learn that there is one to poll.
func (d *Device) SetVringKick(i int, fd int) error {
	fd, poll := fd, fd < 0
	var err error
	if poll {
		fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	} else {
		fd, err = takeEventFD(fd)
	}
	d.enter()
	defer d.release()
	var r *ring
	if err == nil {
		r, err = d.at(i)
	}
	if err != nil {
		closeFD(fd)
		return d.refuse(fmt.Sprintf("ring %d: set kick", i), err)
	}
	if err := d.configure(r, "kick", func() { r.started, r.poll = true, poll }); err != nil {
		closeFD(fd)
		return err
	}
	d.setKick(r, fd)
	if r.live != nil {
		d.publish(r)
	}
	return nil
}

// SetVringCall implements proto.Backend. It may come at any time; a front end that
// masks an interrupt swaps the descriptor under a running ring.
func (d *Device) SetVringCall(i int, fd int) error {
	return d.setSignal(i, fd, "call", func(r *ring) (*int, *virtq.EventFD) {
		if r.live == nil {
			return &r.call, nil
		}
		return &r.call, r.live.Call()
	})
}

// SetVringErr implements proto.Backend.
func (d *Device) SetVringErr(i int, fd int) error {
	return d.setSignal(i, fd, "err", func(r *ring) (*int, *virtq.EventFD) {
		if r.live == nil {
			return &r.errfd, nil
		}
		return &r.errfd, r.live.Err()
	})
}

// setSignal replaces a descriptor that workers write. After a swap under a running
// ring the guest is called once, in case a call went to the old one unseen.
func (d *Device) setSignal(i, fd int, what string, pick func(*ring) (*int, *virtq.EventFD)) error {
	fd, err := takeEventFD(fd)
	d.enter()
	defer d.release()
	var r *ring
	if err == nil {
		r, err = d.at(i)
	}
	if err != nil {
		closeFD(fd)
		return d.refuse(fmt.Sprintf("ring %d: set %s", i, what), err)
	}
	kept, live := pick(r)
	old := *kept
	*kept = fd
	if live != nil {
		live.Set(fd)
		d.cfg.Quiescer.Quiesce()
		if what == "call" {
			live.Signal()
		}
	}
	closeFD(old)
	return nil
}

// SetVringEnable implements proto.Backend. It may come before anything else is known
// of the ring. When it returns, no worker passes frames of a ring that is disabled
// now, and none discards frames of one that is enabled now: the guest may send as
// soon as the front end has its answer, and a worker may have looked long before.
func (d *Device) SetVringEnable(i int, enable bool) error {
	d.enter()
	defer d.release()
	r, err := d.at(i)
	if err != nil {
		return d.refuse(fmt.Sprintf("ring %d: enable", i), err)
	}
	was := d.enabled(r)
	r.wanted = enable
	if r.live != nil && d.enabled(r) != was {
		d.publish(r)
		d.cfg.Quiescer.Quiesce()
	}
	return nil
}
