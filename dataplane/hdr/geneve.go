package hdr

import "encoding/binary"

// GenevePort is the UDP port of Geneve (RFC 8926 3.3).
const GenevePort uint16 = 6081

// Geneve's sizes (RFC 8926), in bytes, and our option.
const (
	GeneveSize       = 8 // without options
	GeneveOptionSize = 4 // an option's header

	// BatonOptionSize is our option, header included; GeneveFullSize a Geneve
	// header with it alone.
	BatonOptionSize = GeneveOptionSize + 8
	GeneveFullSize  = GeneveSize + BatonOptionSize

	// BatonClass and BatonType are our option: class 0xffee lies in the range for
	// experiments (RFC 8926 7.1), the high bit of the type makes it critical.
	BatonClass     uint16 = 0xffee
	BatonType      uint8  = 0x80
	CriticalOption uint8  = 0x80
)

// Geneve is a Geneve header and what follows it, from its first byte on.
type Geneve []byte

// GeneveFields are the fields of a Geneve header.
type GeneveFields struct {
	OptionsSize int    // bytes, a multiple of 4, up to 252
	Control     bool   // O bit: a control packet
	Critical    bool   // C bit: an option is critical
	Protocol    uint16 // EtherType of the payload
	VNI         uint32 // 24 bits
}

// BatonOption is the data of our option: what the sending switch knows of the packet.
type BatonOption struct {
	SrcPort uint16 // source port id
	DstPort uint16 // destination port id, 0 = unknown
	Flags   uint16 // frame flags
	Command uint16 // command id of a traced packet
}

// Valid reports whether version and length fit the slice: the header with all
// options lies in it.
func (h Geneve) Valid() bool {
	return len(h) >= GeneveSize && h[0]>>6 == 0 && GeneveSize+h.OptionsSize() <= len(h)
}

// OptionsSize is the length of all options in bytes.
func (h Geneve) OptionsSize() int { return int(h[0]&0x3f) * 4 }

// VNI is the network id.
func (h Geneve) VNI() uint32 { return binary.BigEndian.Uint32(h[4:8]) >> 8 }

// Payload is what follows the options; h must be Valid.
func (h Geneve) Payload() []byte { return h[GeneveSize+h.OptionsSize():] }

// Options is the options; h must be Valid.
func (h Geneve) Options() []byte { return h[GeneveSize : GeneveSize+h.OptionsSize()] }

// Fields decodes the header.
func (h Geneve) Fields() GeneveFields {
	return GeneveFields{
		OptionsSize: h.OptionsSize(), Control: h[1]&0x80 != 0, Critical: h[1]&0x40 != 0,
		Protocol: binary.BigEndian.Uint16(h[2:4]), VNI: h.VNI(),
	}
}

// Encode writes the header without its options.
func (h Geneve) Encode(f GeneveFields) {
	_ = h[GeneveSize-1]
	h[0], h[1] = uint8(f.OptionsSize/4)&0x3f, 0
	if f.Control {
		h[1] |= 0x80
	}
	if f.Critical {
		h[1] |= 0x40
	}
	binary.BigEndian.PutUint16(h[2:4], f.Protocol)
	binary.BigEndian.PutUint32(h[4:8], f.VNI<<8)
}

// EncodeFull writes a header for an Ethernet frame with our option: GeneveFullSize bytes.
func (h Geneve) EncodeFull(vni uint32, o BatonOption) {
	h.Encode(GeneveFields{OptionsSize: BatonOptionSize, Critical: true, Protocol: TypeTEB, VNI: vni})
	o.Encode(h[GeneveSize:])
}

// Encode writes the option, its header included: BatonOptionSize bytes.
func (o BatonOption) Encode(b []byte) {
	_ = b[BatonOptionSize-1]
	binary.BigEndian.PutUint16(b[0:2], BatonClass)
	b[2], b[3] = BatonType, 2
	binary.BigEndian.PutUint16(b[4:6], o.SrcPort)
	binary.BigEndian.PutUint16(b[6:8], o.DstPort)
	binary.BigEndian.PutUint16(b[8:10], o.Flags)
	binary.BigEndian.PutUint16(b[10:12], o.Command)
}

// DecodeBatonOption decodes an option, its header included: BatonOptionSize bytes.
func DecodeBatonOption(b []byte) BatonOption {
	_ = b[BatonOptionSize-1]
	return BatonOption{
		SrcPort: binary.BigEndian.Uint16(b[4:6]), DstPort: binary.BigEndian.Uint16(b[6:8]),
		Flags: binary.BigEndian.Uint16(b[8:10]), Command: binary.BigEndian.Uint16(b[10:12]),
	}
}

// OptionScan is what ScanOptions found.
type OptionScan struct {
	Baton    BatonOption
	HasBaton bool // our option is there, once and 8 bytes long
	Bad      bool // the options do not add up to their length, or ours has a wrong length or is there twice
	Critical bool // there is an option that we do not know and must not ignore
}

// ScanOptions goes through all options of a Geneve header (RFC 8926 3.5).
//
//	alloc: 0
func ScanOptions(options []byte) (s OptionScan) {
	for len(options) > 0 {
		if len(options) < GeneveOptionSize {
			s.Bad = true
			return s
		}
		size := GeneveOptionSize + int(options[3]&0x1f)*4
		if size > len(options) {
			s.Bad = true
			return s
		}
		switch {
		case binary.BigEndian.Uint16(options[0:2]) == BatonClass && options[2] == BatonType:
			if size != BatonOptionSize || s.HasBaton {
				s.Bad = true
				return s
			}
			s.Baton, s.HasBaton = DecodeBatonOption(options), true
		case options[2]&CriticalOption != 0:
			s.Critical = true
		}
		options = options[size:]
	}
	return s
}
