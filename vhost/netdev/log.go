package netdev

import (
	"errors"

	"baton/vhost/guestmem"
	"baton/vhost/proto"
)

var errLogShort = errors.New("the dirty log is shorter than the guest's memory")

// SetLogBase implements proto.Backend: the file becomes the dirty log, in place of
// the one before. While LOG_ALL is acknowledged, workers write to the new one only
// when this returns.
//
//	error: as guestmem.NewLog; a log too small for the guest's memory
func (d *Device) SetLogBase(size, offset uint64, fd int) error {
	const what = "set log base"
	log, err := guestmem.NewLog(fd, offset, size)
	d.enter()
	defer d.release()
	if err != nil {
		return d.refuse(what, err)
	}
	if err := d.covered(log, d.table); err != nil {
		log.Close()
		return d.refuse(what, err)
	}
	old := d.log
	d.log = log
	if d.logging() {
		d.review()
	}
	if old != nil {
		old.Close()
	}
	return nil
}

// SetLogFD implements proto.Backend. The descriptor is for telling the front end that
// the log has changed, which no front end asks for: QEMU looks at its log by itself.
func (d *Device) SetLogFD(fd int) error {
	closeFD(fd)
	d.enter()
	d.release()
	return nil
}

// logging tells whether rings are to log. Caller holds mu.
func (d *Device) logging() bool { return d.features&proto.FeatureLogAll != 0 }

// activeLog is where rings log to; nil for nowhere. Caller holds mu.
func (d *Device) activeLog() *guestmem.Log {
	if !d.logging() {
		return nil
	}
	return d.log
}

// covered refuses a log that has no bit for a part of the memory in table; no log is
// none yet.
func (d *Device) covered(log *guestmem.Log, table *guestmem.Table) error {
	if log == nil || log.Covers(table) {
		return nil
	}
	return errLogShort
}

// review gives all running rings their set-up anew, without a pause, and waits until
// workers have it. Caller holds mu.
func (d *Device) review() {
	for _, r := range d.rings {
		if r.live == nil {
			continue
		}
		// Nothing but the log has changed, so that this fails for broken rings at most.
		if err := r.live.SetView(d.table, d.ringConfig(r)); err != nil {
			d.warn("ring keeps its former dirty log", "ring", r.index, "error", err)
		}
	}
	d.cfg.Quiescer.Quiesce()
}

// dropLog forgets the log. Caller holds mu and has stopped all rings.
func (d *Device) dropLog() {
	if d.log != nil {
		d.log.Close()
	}
	d.log = nil
}
