package netdev

import (
	"encoding/binary"
	"sync/atomic"

	"baton/dataplane/buf"
	"baton/dataplane/hdr"
)

// Numbers of a RARP request (RFC 903), an ARP packet of another type and opcode.
const (
	typeRARP    = 0x8035
	rarpRequest = 3
	minPadded   = 60 // bytes of the shortest frame without its check sequence
)

// announcement is a frame that is due to the switch as if the guest had sent it, so
// that the network learns where the guest is now.
//
//	conc: set by the control side, taken by the queue's worker
type announcement struct{ mac atomic.Uint64 }

const announceDue = 1 << 63 // beside a MAC, which may be 0

// set makes an announcement of mac due; one that was due is forgotten.
func (a *announcement) set(mac [6]byte) {
	a.mac.Store(announceDue | uint64(binary.BigEndian.Uint16(mac[:]))<<32 | uint64(binary.BigEndian.Uint32(mac[2:])))
}

func (a *announcement) due() bool { return a.mac.Load() != 0 }

// take puts the due announcement, if there still is one, into v. Without a buffer it
// stays due.
//
//	out: 1, or 0    alloc: 0
func (a *announcement) take(c *buf.Cache, v *buf.Vec) int {
	b := c.Alloc()
	if b == nil {
		return 0
	}
	word := a.mac.Swap(0)
	if word == 0 {
		c.Free(b)
		return 0
	}
	var mac [6]byte
	binary.BigEndian.PutUint16(mac[:], uint16(word>>32))
	binary.BigEndian.PutUint32(mac[2:], uint32(word))
	var frame [minPadded]byte
	encodeRARP(frame[:], mac)
	b.SetFrame(frame[:])
	v[0] = b
	return 1
}

// encodeRARP writes the broadcast "who is mac?" that switches learn from.
func encodeRARP(frame []byte, mac [6]byte) {
	all := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	hdr.Ethernet(frame).Encode(hdr.EthernetFields{Dst: all, Src: mac, Type: typeRARP})
	hdr.ARP(frame[hdr.EthernetSize:]).Encode(hdr.ARPFields{Op: rarpRequest, SenderMAC: mac, TargetMAC: mac})
}

// SendRARP implements proto.Backend: after a migration of a guest that cannot announce
// itself, the switch gets a RARP request as if from it. Whether a frame with that
// address may come from this port, the switch judges as for every frame.
func (d *Device) SendRARP(mac [6]byte) error {
	d.enter()
	defer d.release()
	q := d.queues[0]
	q.announce.set(mac)
	// A worker that sleeps must come and fetch it. Where no ring is, it is fetched when
	// one starts, which wakes the worker too.
	signal(d.rings[1].kick)
	return nil
}
