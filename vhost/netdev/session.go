package netdev

import (
	"errors"
	"fmt"

	"baton/vhost/guestmem"
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

// Features implements proto.Backend: only what works.
func (d *Device) Features() uint64 {
	f := proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureIndirectDesc |
		proto.FeatureEventIdx | proto.FeatureGuestAnnounce | proto.FeatureProtocol
	if len(d.queues) > 1 {
		f |= proto.FeatureMQ
	}
	if d.cfg.MTU != 0 {
		f |= proto.FeatureMTU
	}
	return f
}

// ProtocolFeatures implements proto.Backend.
func (d *Device) ProtocolFeatures() uint64 {
	return proto.ProtocolMQ | proto.ProtocolReplyAck | proto.ProtocolNetMTU | proto.ProtocolBackendReq |
		proto.ProtocolResetDevice | proto.ProtocolConfigureMemSlots | proto.ProtocolStatus
}

// SetFeatures implements proto.Backend. The same set again is nothing new; another
// one restarts running rings where they are.
func (d *Device) SetFeatures(features uint64) error {
	d.enter()
	defer d.release()
	if extra := features &^ d.Features(); extra != 0 {
		return d.refuse("set features", fmt.Errorf("bits %#x: %w", extra, errNotOffered))
	}
	if d.acked && features == d.features {
		return nil
	}
	d.stop(d.rings...)
	d.features, d.acked = features, true
	d.startAll()
	return nil
}

// SetProtocolFeatures implements proto.Backend.
func (d *Device) SetProtocolFeatures(features uint64) error {
	d.enter()
	defer d.release()
	if extra := features &^ d.ProtocolFeatures(); extra != 0 {
		return d.refuse("set protocol features", fmt.Errorf("bits %#x: %w", extra, errNotOffered))
	}
	d.protocol = features
	return nil
}

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
	d.reset()
	return nil
}

func (d *Device) reset() {
	d.stop(d.rings...)
	for _, r := range d.rings {
		d.setKick(r, -1)
		d.forget(r)
	}
	d.features, d.acked, d.status = 0, false, 0
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
		d.reset()
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

// SendRARP implements proto.Backend: not offered, since guests announce themselves.
func (d *Device) SendRARP([6]byte) error {
	d.enter()
	defer d.release()
	return d.refuse("send RARP", errNotOffered)
}

// SetBackendReqFD implements proto.Backend: the descriptor is kept open; we have
// nothing to ask of a front end.
func (d *Device) SetBackendReqFD(fd int) error {
	d.enter()
	defer d.release()
	closeFD(d.reqFD)
	d.reqFD = fd
	return nil
}

// SetLogBase implements proto.Backend: dirty logging is not offered.
func (d *Device) SetLogBase(_, _ uint64, fd int) error {
	d.enter()
	defer d.release()
	closeFD(fd)
	return d.refuse("set log base", errNotOffered)
}

// SetLogFD implements proto.Backend: dirty logging is not offered.
func (d *Device) SetLogFD(fd int) error {
	d.enter()
	defer d.release()
	closeFD(fd)
	return d.refuse("set log fd", errNotOffered)
}

// Disconnected implements proto.Backend.
func (d *Device) Disconnected() {
	d.mu.Lock()
	defer d.release()
	if d.connected {
		d.counts.Disconnects.Add(1)
	}
	d.drop()
}

// drop ends all that came with a session. Caller holds mu.
func (d *Device) drop() {
	d.reset()
	for _, r := range d.rings {
		d.clear(r)
	}
	closeAll(d.maps)
	closeFD(d.reqFD)
	d.maps, d.table, d.reqFD = nil, &guestmem.Table{}, -1
	d.protocol, d.mtu, d.connected = 0, 0, false
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
	case num == 0 || num > guestmem.MaxSplitNum || num&(num-1) != 0:
		err = errRingNum
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
	if a.Flags != 0 {
		return d.refuse(what, fmt.Errorf("flags %#x (dirty logging): %w", a.Flags, errNotOffered))
	}
	if err := guestmem.CheckSplitAddr(a.Desc, a.Avail, a.Used); err != nil {
		return d.refuse(what, err)
	}
	if r.live != nil {
		next := d.ringConfig(r)
		next.Desc, next.Avail, next.Used = a.Desc, a.Avail, a.Used
		if err := r.live.SetView(d.table, next); err != nil {
			return d.refuse(what, err)
		}
	}
	return d.configure(r, "address", func() {
		r.desc, r.avail, r.used, r.haveAddr = a.Desc, a.Avail, a.Used, true
	})
}

// SetVringBase implements proto.Backend.
func (d *Device) SetVringBase(i int, base uint32) error {
	d.enter()
	defer d.release()
	r, err := d.at(i)
	switch {
	case err != nil:
	case base > 0xffff:
		err = errBase
	case r.live != nil:
		err = errRunning
	default:
		r.base = base
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
	d.enter()
	defer d.release()
	poll := fd < 0
	r, err := d.at(i)
	if err == nil {
		if poll {
			fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		} else {
			err = checkEventFD(fd)
		}
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
	d.enter()
	defer d.release()
	r, err := d.at(i)
	if err == nil {
		err = checkEventFD(fd)
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
