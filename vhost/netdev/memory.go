package netdev

import (
	"errors"
	"fmt"
	"slices"

	"baton/vhost/guestmem"
	"baton/vhost/proto"
	"baton/vhost/virtq"
)

var (
	errNoRegion  = errors.New("no such region")
	errNoRegions = errors.New("no regions")
)

// SetMemTable implements proto.Backend. Running rings go over to the new table
// without a pause; a ring that the new table does not hold stops until one does.
func (d *Device) SetMemTable(regions []proto.MemRegion) error {
	maps, err := d.mapAll(regions)
	d.enter()
	defer d.release()
	if err != nil {
		return d.refuse("set mem table", err)
	}
	table, err := d.newTable(maps)
	if err != nil {
		closeAll(maps)
		return d.refuse("set mem table", err)
	}
	d.swapTable(table, maps, d.maps)
	return nil
}

// allow adds size to total, both in bytes.
//
//	error: guestmem.ErrTooMuch: more than the port may have
func (d *Device) allow(total, size uint64) (uint64, error) {
	if most := d.cfg.MaxMemory; size > most-total {
		return total, fmt.Errorf("%w: vhost.max_memory allows %d MiB", guestmem.ErrTooMuch, most>>20)
	}
	return total + size, nil
}

// newTable is a table of maps that the dirty log, if one is in use, has bits for.
func (d *Device) newTable(maps []*guestmem.Mapping) (*guestmem.Table, error) {
	table, err := guestmem.NewTable(maps)
	if err == nil {
		err = d.covered(d.activeLog(), table)
	}
	return table, err
}

// mapAll maps all regions or none; it owns their descriptors. A peer may hold up what
// the kernel is asked about a file of its own (FUSE), and that file's closing: the
// caller does not hold mu. What is mapped is in memory, and waits for nobody.
func (d *Device) mapAll(regions []proto.MemRegion) (maps []*guestmem.Mapping, err error) {
	switch {
	case len(regions) == 0:
		return nil, errNoRegions
	case len(regions) > guestmem.MaxRegions:
		err = guestmem.ErrTooMany
	}
	// Before anything is mapped: what one guest asks for in vain must not be
	// missing for others meanwhile.
	total := uint64(0)
	for _, r := range regions {
		if err == nil {
			total, err = d.allow(total, r.Size)
		}
	}
	for i, r := range regions {
		if err != nil {
			closeFD(r.FD)
			continue
		}
		var m *guestmem.Mapping
		if m, err = mapOne(r); err != nil {
			err = fmt.Errorf("region %d: %w", i, err)
			continue
		}
		maps = append(maps, m)
	}
	if err != nil {
		closeAll(maps)
		return nil, err
	}
	return maps, nil
}

func mapOne(r proto.MemRegion) (*guestmem.Mapping, error) {
	return guestmem.Map(guestmem.Region{GuestAddr: r.GuestAddr, Size: r.Size, UserAddr: r.UserAddr, MmapOffset: r.MmapOffset}, r.FD)
}

func closeAll(maps []*guestmem.Mapping) {
	for _, m := range maps {
		m.Close()
	}
}

// swapTable makes table the device's, moves all rings to it and closes the mappings
// of gone once no worker can touch them.
func (d *Device) swapTable(table *guestmem.Table, maps, gone []*guestmem.Mapping) {
	var lost []*ring
	for _, r := range d.rings {
		if r.live == nil {
			continue
		}
		// A broken ring no longer touches memory, whatever it is.
		if err := r.live.SetView(table, d.ringConfig(r)); err != nil && r.live.Broken() == virtq.ReasonNone {
			lost = append(lost, r)
			d.warn("ring is outside the new memory table and stops", "ring", r.index, "error", err)
		}
	}
	d.table, d.maps = table, maps
	d.stop(lost...)
	d.cfg.Quiescer.Quiesce()
	closeAll(gone)
	d.startAll()
}

// MaxMemSlots implements proto.Backend.
func (d *Device) MaxMemSlots() int { return guestmem.MaxRegions }

// AddMemRegion implements proto.Backend.
func (d *Device) AddMemRegion(r proto.MemRegion) error {
	added, err := d.mapAll([]proto.MemRegion{r})
	d.enter()
	defer d.release()
	if err != nil {
		return d.refuse("add mem region", err)
	}
	m := added[0]
	if slices.ContainsFunc(d.maps, func(old *guestmem.Mapping) bool { return old.Region == m.Region }) {
		m.Close()
		return nil
	}
	have := uint64(0)
	for _, old := range d.maps {
		have += old.Size
	}
	maps := append(slices.Clone(d.maps), m)
	var table *guestmem.Table
	if _, err = d.allow(have, m.Size); err == nil {
		table, err = d.newTable(maps)
	}
	if err != nil {
		m.Close()
		return d.refuse("add mem region", err)
	}
	d.swapTable(table, maps, nil)
	return nil
}

// RemMemRegion implements proto.Backend.
func (d *Device) RemMemRegion(r proto.MemRegion) error {
	closeFD(r.FD)
	d.enter()
	defer d.release()
	at := slices.IndexFunc(d.maps, func(m *guestmem.Mapping) bool {
		return m.GuestAddr == r.GuestAddr && m.UserAddr == r.UserAddr && m.Size == r.Size
	})
	if at < 0 {
		return d.refuse("remove mem region", fmt.Errorf("guest address %#x, size %#x: %w", r.GuestAddr, r.Size, errNoRegion))
	}
	gone := d.maps[at]
	maps := slices.Delete(slices.Clone(d.maps), at, at+1)
	table, err := guestmem.NewTable(maps)
	if err != nil {
		return d.refuse("remove mem region", err)
	}
	d.swapTable(table, maps, []*guestmem.Mapping{gone})
	return nil
}
