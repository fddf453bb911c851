package handover

import (
	"bytes"
	"encoding/binary"
	"time"

	"baton/bench/topology"
	"baton/dataplane/hdr"
)

// Places in a frame without tunnel headers, in bytes from its first.
const (
	headersSize = hdr.EthernetSize + hdr.IPv4Size + hdr.UDPSize // 42
	magicAt     = headersSize
	runAt       = magicAt + 4
	flowAt      = runAt + 4
	numberAt    = flowAt + 4
	stampAt     = numberAt + 8
	frameSize   = stampAt + 8
	outerSize   = headersSize + hdr.GeneveFullSize
)

// magic marks our frames.
const magic = 0xba70ba70

// mark is what tells a packet from all others.
type mark struct {
	run    uint32 // packets of an earlier run may still come
	flow   uint32
	number uint64
	stamp  time.Duration // when it was sent, on the load's clock
}

// put writes m into the inner frame b.
func (m mark) put(b []byte) {
	_ = b[frameSize-1]
	binary.BigEndian.PutUint32(b[magicAt:], magic)
	binary.BigEndian.PutUint32(b[runAt:], m.run)
	binary.BigEndian.PutUint32(b[flowAt:], m.flow)
	binary.BigEndian.PutUint64(b[numberAt:], m.number)
	binary.BigEndian.PutUint64(b[stampAt:], uint64(m.stamp))
}

// readMark is what put wrote into the inner frame b.
//
//	error: not ok if the frame is none of ours
func readMark(b []byte) (m mark, ok bool) {
	if len(b) < frameSize || binary.BigEndian.Uint32(b[magicAt:]) != magic {
		return m, false
	}
	return mark{
		run: binary.BigEndian.Uint32(b[runAt:]), flow: binary.BigEndian.Uint32(b[flowAt:]),
		number: binary.BigEndian.Uint64(b[numberAt:]), stamp: time.Duration(binary.BigEndian.Uint64(b[stampAt:])),
	}, true
}

// sameHeaders says whether two inner frames have the same headers.
func sameHeaders(a, b []byte) bool { return bytes.Equal(a[:headersSize], b[:headersSize]) }

// innerFrame is a frame from one VM to another, with nothing behind its headers yet. The
// port tells flows of the same two VMs apart.
func innerFrame(from, to topology.VM, port uint16) []byte {
	b := make([]byte, frameSize)
	hdr.Ethernet(b).Encode(hdr.EthernetFields{Dst: to.MAC, Src: from.MAC, Type: hdr.TypeIPv4})
	putIPv4(b, from.IP.As4(), to.IP.As4(), 0)
	hdr.UDP(b[hdr.EthernetSize+hdr.IPv4Size:]).Encode(hdr.UDPFields{SrcPort: port, DstPort: port, Size: frameSize - hdr.EthernetSize - hdr.IPv4Size})
	return b
}

func putIPv4(b []byte, src, dst [4]byte, frag uint16) {
	ip := hdr.IPv4(b[hdr.EthernetSize:])
	ip.Encode(hdr.IPv4Fields{
		HeaderSize: hdr.IPv4Size, TotalSize: uint16(len(b) - hdr.EthernetSize), Frag: frag, TTL: 64, Proto: hdr.ProtoUDP, Src: src, Dst: dst,
	})
	ip.SetChecksum()
}

// tunnelled is an inner frame as the far host sends it: from one of its VMs to one of batond's.
func tunnelled(from, to topology.VM, inner []byte) []byte {
	b := make([]byte, outerSize, outerSize+len(inner))
	b = append(b, inner...)
	hdr.Ethernet(b).Encode(hdr.EthernetFields{Dst: vtepMAC(), Src: topology.FarVTEP.MAC, Type: hdr.TypeIPv4})
	putIPv4(b, topology.FarVTEP.IP.Addr().As4(), topology.HostVTEP.IP.Addr().As4(), hdr.IPv4DontFragment)
	hdr.UDP(b[hdr.EthernetSize+hdr.IPv4Size:]).Encode(hdr.UDPFields{
		SrcPort: 0xc000 | to.ID&0x3fff, DstPort: hdr.GenevePort, Size: uint16(len(b) - hdr.EthernetSize - hdr.IPv4Size),
	})
	hdr.Geneve(b[headersSize:]).EncodeFull(to.VNI, hdr.BatonOption{SrcPort: from.ID, DstPort: to.ID})
	return b
}

// opened is what is in a tunnel's frame from batond; nil: it is none.
func opened(b []byte) []byte {
	if len(b) < outerSize+frameSize || binary.BigEndian.Uint16(b[12:]) != hdr.TypeIPv4 || b[hdr.EthernetSize+9] != hdr.ProtoUDP {
		return nil
	}
	if binary.BigEndian.Uint16(b[hdr.EthernetSize+hdr.IPv4Size+2:]) != hdr.GenevePort {
		return nil
	}
	g := hdr.Geneve(b[headersSize:])
	if !g.Valid() {
		return nil
	}
	return g.Payload()
}
