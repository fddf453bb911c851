package lab

import (
	"errors"
	"fmt"
)

// plugSlots is how often PlugMemory may be called for one guest.
const plugSlots = 4

// PlugMemory adds a memory module of so many MiB, a multiple of 128 (Linux's
// section), to the running guest, which must have been started with
// GuestConfig.HotplugMiB. name tells the modules of a guest apart.
func (g *Guest) PlugMemory(name string, mib int) error {
	q, err := dialQMP(g.qmpSocket())
	if err == nil {
		backend := map[string]any{"qom-type": "memory-backend-memfd", "id": name + "-ram", "size": mib << 20, "share": true}
		if err = q.execute("object-add", backend, nil); err == nil {
			err = q.execute("device_add", map[string]any{"driver": "pc-dimm", "id": name, "memdev": name + "-ram"}, nil)
		}
		err = errors.Join(err, q.close())
	}
	if err != nil {
		return fmt.Errorf("lab: guest %s: plug %d MiB of memory: %w", g.cfg.Name, mib, err)
	}
	return nil
}
