package relay

import "baton/dataplane/port"

// inner is a device's queue with what it is besides.
type inner struct {
	q       port.Queue
	enabler port.Enabler       // nil: always enabled
	offload port.Offloader     // nil: takes no frame that asks for offloads
	settler port.Settler       // nil: nothing to do
	late    port.LateDropper   // nil: drops none
	tooBig  port.TooBigDropper // nil: drops none
}

func newInner(q port.Queue) *inner {
	in := &inner{q: q}
	in.enabler, _ = q.(port.Enabler)
	in.offload, _ = q.(port.Offloader)
	in.settler, _ = q.(port.Settler)
	in.late, _ = q.(port.LateDropper)
	in.tooBig, _ = q.(port.TooBigDropper)
	return in
}

// Settle implements port.Settler.
func (in *inner) Settle() {
	if in.settler != nil {
		in.settler.Settle()
	}
}

// Enabled implements port.Enabler.
func (in *inner) Enabled() bool { return in.enabler == nil || in.enabler.Enabled() }

// Offloads implements port.Offloader.
func (in *inner) Offloads() port.Offloads {
	if in.offload == nil {
		return 0
	}
	return in.offload.Offloads()
}

// Dropped implements port.LateDropper.
func (in *inner) Dropped() uint64 {
	if in.late == nil {
		return 0
	}
	return in.late.Dropped()
}

// TooBig implements port.TooBigDropper.
func (in *inner) TooBig() uint64 {
	if in.tooBig == nil {
		return 0
	}
	return in.tooBig.TooBig()
}
