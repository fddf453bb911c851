package netdev_test

import (
	"errors"
	"strings"
	"testing"

	"baton/vhost/guestmem"
	"baton/vhost/netdev"
)

// A port's front end maps as much as the port may have, in one table or region by
// region, and what it has stays when it asks for more.
func TestMaxMemory(t *testing.T) {
	for _, c := range []struct {
		most uint64
		fits int // regions of half of the memory each
	}{{memSize, 2}, {memSize - 1, 1}, {memSize / 2, 1}, {memSize/2 - 1, 0}} {
		g := newRig(t, func(cfg *netdev.Config) { cfg.MaxMemory = c.most })
		before := openFDs(t)
		err := g.dev.SetMemTable(g.regions(memSize / 2))
		if fits := c.fits == 2; fits != (err == nil) {
			t.Fatalf("at most %d: a table of %d: %v", c.most, memSize, err)
		}
		if err != nil && (!errors.Is(err, guestmem.ErrTooMuch) || !strings.Contains(err.Error(), "vhost.max_memory")) {
			t.Errorf("%v does not name the limit", err)
		}
		if got := openFDs(t); err != nil && got != before {
			t.Errorf("%d descriptors open, were %d", got, before)
		}
		if c.fits == 2 {
			continue
		}
		fits := 0
		for _, r := range g.regions(memSize / 2) {
			if err := g.dev.AddMemRegion(r); err == nil {
				fits++
			} else if !errors.Is(err, guestmem.ErrTooMuch) {
				t.Fatal(err)
			}
		}
		if got := len(g.dev.Snapshot().Regions); fits != c.fits || got != fits {
			t.Errorf("at most %d: %d regions were added and %d are there, want %d", c.most, fits, got, c.fits)
		}
	}
}
