package main

import (
	"fmt"
	"strings"
)

// driver is whose virtio driver and vhost-user front end a cell has.
type driver string

const (
	qemuLinux  driver = "QEMU"        // QEMU 10 and the driver of Linux
	virtioUser driver = "virtio_user" // DPDK 22.11
)

// cell is one combination. Offloads and Mergeable are varied for QEMU, InOrder
// for virtio_user; nil says that the cell leaves it to the driver.
type cell struct {
	Driver    driver `json:"driver"`
	Ring      string `json:"ring"` // split or packed, as batonctl has it
	Queues    int    `json:"queue_pairs"`
	Offloads  *bool  `json:"offloads,omitempty"`
	Mergeable *bool  `json:"mergeable,omitempty"`
	InOrder   *bool  `json:"in_order,omitempty"`
}

// rings and onOff are the values of the axes; counts of queue pairs differ.
var (
	rings     = []string{"split", "packed"}
	onOff     = []bool{true, false}
	qemuPairs = []int{1, 2, 4}
	pmdPairs  = []int{1, 4}
)

// matrix is every cell: 24 of QEMU and 8 of virtio_user.
func matrix() (cells []cell) {
	for _, ring := range rings {
		for _, pairs := range qemuPairs {
			for _, offloads := range onOff {
				for _, mergeable := range onOff {
					cells = append(cells, qemuCell(ring, pairs, offloads, mergeable))
				}
			}
		}
	}
	for _, ring := range rings {
		for _, inOrder := range onOff {
			for _, pairs := range pmdPairs {
				cells = append(cells, pmdCell(ring, pairs, inOrder))
			}
		}
	}
	return cells
}

// shortMatrix has each value of each axis in a few cells.
func shortMatrix() []cell {
	return []cell{
		qemuCell("split", 4, true, false),
		qemuCell("packed", 2, true, true),
		qemuCell("packed", 1, false, false),
		pmdCell("split", 1, true),
		pmdCell("packed", 4, false),
	}
}

func qemuCell(ring string, pairs int, offloads, mergeable bool) cell {
	return cell{Driver: qemuLinux, Ring: ring, Queues: pairs, Offloads: &offloads, Mergeable: &mergeable}
}

func pmdCell(ring string, pairs int, inOrder bool) cell {
	return cell{Driver: virtioUser, Ring: ring, Queues: pairs, InOrder: &inOrder}
}

// String names the cell, as the flag -run matches it and files are named.
func (c cell) String() string {
	parts := []string{strings.ToLower(string(c.Driver)), c.Ring, fmt.Sprintf("%dq", c.Queues)}
	for _, axis := range []struct {
		name string
		on   *bool
	}{{"offloads", c.Offloads}, {"mergeable", c.Mergeable}, {"inorder", c.InOrder}} {
		if axis.on != nil {
			parts = append(parts, axis.name+"-"+setting(axis.on))
		}
	}
	return strings.Join(parts, "-")
}

// setting is how the table and QEMU write an axis.
func setting(on *bool) string {
	switch {
	case on == nil:
		return "-"
	case *on:
		return "on"
	}
	return "off"
}

// offloadFeatures are the features of the axis "offloads", by the specification's
// names.
var offloadFeatures = []string{"CSUM", "GUEST_CSUM", "HOST_TSO4", "HOST_TSO6", "HOST_ECN", "GUEST_TSO4", "GUEST_TSO6", "GUEST_ECN"}

// features says of each feature that the cell fixes whether it must be in use.
func (c cell) features() map[string]bool {
	f := map[string]bool{"VERSION_1": true, "RING_PACKED": c.Ring == "packed"}
	if c.Driver == qemuLinux {
		f["MQ"] = c.Queues > 1 // virtio_user always asks for it
	}
	if c.Offloads != nil {
		for _, name := range offloadFeatures {
			f[name] = *c.Offloads
		}
	}
	if c.Mergeable != nil {
		f["MRG_RXBUF"] = *c.Mergeable
	}
	if c.InOrder != nil {
		f["IN_ORDER"] = *c.InOrder
	}
	return f
}

// qemuDevice is the cell as properties of QEMU's virtio-net-pci.
func (c cell) qemuDevice() string {
	packed := c.Ring == "packed"
	parts := []string{"packed=" + setting(&packed), "mrg_rxbuf=" + setting(c.Mergeable)}
	for _, name := range offloadFeatures {
		parts = append(parts, strings.ToLower(name)+"="+setting(c.Offloads))
	}
	return strings.Join(parts, ",")
}

// pmdDevice is the cell as parameters of net_virtio_user.
func (c cell) pmdDevice() string {
	bit := map[bool]int{true: 1}
	return fmt.Sprintf("packed_vq=%d,in_order=%d", bit[c.Ring == "packed"], bit[*c.InOrder])
}
