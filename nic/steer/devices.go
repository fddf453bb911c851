package steer

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// devices moves the VTEP from the filter of one device to that of the other.
type devices struct {
	mac net.HardwareAddr

	mu   sync.Mutex // guards what follows, and calls to devs
	devs [2]Device  // nil: another process's
	at   int
}

var _ way = (*devices)(nil)

func (d *devices) check() error { return nil }

// take adds before it removes: for a moment both devices take frames, at none neither.
func (d *devices) take(which int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dev := d.devs[which]; dev != nil {
		if err := dev.AddMAC(d.mac); err != nil {
			return err
		}
	}
	d.at = which
	if err := d.giveUp(1 - which); err != nil {
		return fmt.Errorf("device %d takes its frames, but device %d has not given them up: close that, or try again: %w", which, 1-which, err)
	}
	return nil
}

func (d *devices) giveUp(which int) error {
	if d.devs[which] == nil {
		return nil
	}
	return d.devs[which].RemoveMAC(d.mac)
}

func (d *devices) where() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, nil
}

func (d *devices) remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.giveUp(0), d.giveUp(1)); err != nil {
		return err
	}
	d.at = Neither
	return nil
}
