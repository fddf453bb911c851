package overlay

import (
	"encoding/binary"

	"baton/dataplane/flow"
	"baton/dataplane/stats"
)

// options checks the Geneve header g begins with and fills k from our option, or
// with zeros if it is not there. It returns the size of header and options.
// Unknown options are skipped unless they are critical (RFC 8926 3.5).
func options(g []byte, k *flow.Key) (int, stats.DropReason) {
	if g[0]>>6 != 0 {
		return 0, stats.DropGeneveVersion
	}
	if g[1]&flagOAM != 0 {
		return 0, stats.DropGeneveOAM
	}
	end := geneveSize + int(g[0]&0x3f)*4
	if end > len(g) {
		return 0, stats.DropGeneveOptions
	}
	if binary.BigEndian.Uint16(g[2:4]) != protoEthernet {
		return 0, stats.DropGeneveProtocol
	}
	// The common case: our option alone.
	if end == geneveSize+optionSize && binary.BigEndian.Uint32(g[8:12])&^0xe0 == optionClass<<16|optionType<<8|optionWords {
		readOption(g[12:20], k)
		return end, stats.DropNone
	}
	return end, walk(g[geneveSize:end], k)
}

// walk goes over all options in o.
func walk(o []byte, k *flow.Key) stats.DropReason {
	k.SrcPort, k.DstPort, k.Flags, k.Command = 0, 0, 0, 0
	seen := false
	for len(o) > 0 {
		// Options are multiples of 4 bytes, so that a whole header is left.
		size := 4 + int(o[3]&0x1f)*4
		if size > len(o) {
			return stats.DropGeneveOptions
		}
		class, kind := binary.BigEndian.Uint16(o[0:2]), o[2]
		switch {
		case class == optionClass && kind == optionType:
			if seen || size != optionSize {
				return stats.DropGeneveOptions
			}
			seen = true
			readOption(o[4:12], k)
		case kind&0x80 != 0:
			return stats.DropGeneveCritical
		}
		o = o[size:]
	}
	return stats.DropNone
}

// readOption fills k from the data of our option.
func readOption(d []byte, k *flow.Key) {
	v := binary.BigEndian.Uint64(d)
	k.SrcPort = uint16(v >> 48)
	k.DstPort = uint16(v >> 32)
	k.Flags = uint16(v >> 16)
	k.Command = uint16(v)
}
