package netdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"baton/vhost/proto"
)

// pin is what was agreed on with a front end. A guest's driver keeps to it over all
// that happens to us: a front end that comes back, to this process or to the one after
// it, must be offered what it was offered before, whatever we could do or are told to
// do by then. QEMU refuses a back end that lacks what its guest acknowledged.
//
// A pin is for one front end: another one, in a new process of the same VM, begins anew.
type pin struct {
	Peer    string // see proto.Backend.Connected
	Offered uint64
	Acked   uint64 // without LOG_ALL; 0 once the guest's driver was reset
}

// pinFile is a pin on disk. Bits are in hexadecimal, for people.
type pinFile struct {
	Peer    string `json:"front_end"`
	Offered string `json:"features_offered"`
	Acked   string `json:"features_acknowledged"`
}

// maxPin is the longest file that is read, in bytes; one that we wrote has 200.
const maxPin = 4096

// loadPin reads a pin that this or another process has written. No file is no pin.
//
//	error: a file that is none; it is as good as no pin
func loadPin(path string) (p pin, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return pin{}, nil
	}
	if err != nil {
		return pin{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPin))
	if err != nil {
		return pin{}, err
	}
	var v pinFile
	if err := json.Unmarshal(b, &v); err != nil {
		return pin{}, fmt.Errorf("%s: %w", path, err)
	}
	if p.Peer = v.Peer; p.Peer == "" {
		return pin{}, fmt.Errorf("%s: names no front end", path)
	}
	for _, f := range []struct {
		text string
		bits *uint64
	}{{v.Offered, &p.Offered}, {v.Acked, &p.Acked}} {
		if _, err := fmt.Sscanf(f.text, "0x%x", f.bits); err != nil {
			return pin{}, fmt.Errorf("%s: features %.40q: %w", path, f.text, err)
		}
	}
	return p, nil
}

// save writes p to path, whole or not at all. It is for the life of the VM, which a
// crash of the machine ends: nothing waits for the disk.
func (p pin) save(path string) error {
	b, err := json.Marshal(pinFile{Peer: p.Peer, Offered: fmt.Sprintf("%#x", p.Offered), Acked: fmt.Sprintf("%#x", p.Acked)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Connected implements proto.Backend.
func (d *Device) Connected(peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peer = peer
	if missing := d.pin.Acked &^ implemented; d.pinned() && missing != 0 {
		d.warn("this version lacks features that the guest uses since before it started: the front end will not take it; restart the VM, or go back to the former version",
			"features", proto.FeatureNames(missing))
	}
}

// pinned tells whether the front end is the one of the pin. Caller holds mu.
func (d *Device) pinned() bool { return d.pin.Offered != 0 && d.pin.Peer == d.peer }

// bare tells whether features say nothing of what a driver acknowledged.
func bare(features uint64) bool {
	return features&^(proto.FeatureProtocol|proto.FeatureLogAll) == 0
}

// keep notes features that the front end acknowledged. Bare ones are no reason to
// forget better ones: see recall. Caller holds mu.
func (d *Device) keep(features uint64) {
	if !bare(features) {
		d.spoken = true
		d.setPin(pin{Peer: d.peer, Offered: d.offered(), Acked: features &^ proto.FeatureLogAll})
	}
}

// setPin replaces the pin and its file. Caller holds mu.
func (d *Device) setPin(p pin) {
	if p == d.pin {
		return
	}
	d.pin = p
	if d.cfg.Pin == "" || p.Peer == "" {
		return // nobody could tell later whose it was
	}
	if err := p.save(d.cfg.Pin); err != nil {
		d.warn("negotiated features cannot be kept: after a restart with other features configured, this guest may need one too", "error", err)
	}
}

// forgot tells whether a front end whose guest had acknowledged features came back and
// acknowledged none: known of QEMU, which then goes on with rings whose driver has
// longer headers than these features ask for. Caller holds mu.
func (d *Device) forgot() bool {
	return d.acked && !d.spoken && bare(d.features) && d.pinned() && !bare(d.pin.Acked)
}

// inProgress tells whether r was used before, by the features of the pin: a driver
// that was really reset, and is one that acknowledges nothing, begins at 0. Caller
// holds mu.
func (d *Device) inProgress(r *ring) bool {
	if d.pin.Acked&proto.FeatureRingPacked != 0 {
		// Its memory does not say so for certain, but a base does.
		const start = 1 << 15 // slot 0, wrap counter 1
		return r.base != 0 && r.base != start && r.base != start<<16|start
	}
	split, err := d.table.SplitRing(r.num, r.desc, r.avail, r.used)
	if err != nil {
		return false // it will not start either
	}
	used := uint16(0)
	err = d.table.Try(func() { used = split.UsedIdx() })
	return err == nil && used != 0
}

// recall goes on with the features of the pin and restarts the rings that run without
// them. Caller holds mu.
func (d *Device) recall() {
	d.unmake() // of other features
	d.stop(d.rings...)
	d.features |= d.pin.Acked &^ proto.FeatureProtocol
	d.recalled, d.spoken = true, true
	d.counts.Recalled.Add(1)
	d.warn("the front end came back and acknowledged no features, but its rings are in use: going on with those that the guest acknowledged before; update QEMU if this comes again",
		"features", fmt.Sprintf("%#x", d.features))
	d.startAll()
}
