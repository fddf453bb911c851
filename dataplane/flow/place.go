package flow

import "encoding/binary"

// place is where a field lies in Fields: bits of one word, or, an IP address, two
// whole words. Fields are little endian numbers there, or bytes in wire order, on
// every platform that baton runs on.
type place struct {
	mask  uint64 // the field's bits; 0 if there is no such field
	word  uint8
	shift uint8 // of the field's lowest bit
	unit  uint8 // bits that a number's value is short of 64, 255 for bytes in wire order
	two   bool
}

// wire is the unit of fields that are bytes in wire order.
const wire = 255

var places = func() (t [NumFields]place) {
	for id, i := range fieldInfos {
		if i.ID == FieldNone {
			continue
		}
		p := place{word: uint8(i.Offset / 8), shift: uint8(i.Offset % 8 * 8), unit: uint8(64 - min(i.Size, 8)*8), two: i.Size == 16}
		p.mask = ^uint64(0) >> p.unit << p.shift
		if i.Bytes {
			p.unit = wire
		}
		t[id] = p
	}
	return t
}()

// placeOf is the place of a field; an empty one if there is no such field.
func placeOf(id FieldID) *place {
	if int(id) >= NumFields {
		id = FieldNone
	}
	return &places[id]
}

// Get is the field's value, big endian, in the first Size bytes; zero for unknown fields.
//
//	alloc: 0
func (f *Fields) Get(id FieldID) (v [16]byte) {
	p, w := placeOf(id), f.Words()
	at := p.word % uint8(FieldWords)
	x := w[at] & p.mask >> (p.shift & 63)
	if p.unit != wire {
		binary.BigEndian.PutUint64(v[:8], x<<(p.unit&63))
		return v
	}
	binary.LittleEndian.PutUint64(v[:8], x)
	if p.two {
		binary.LittleEndian.PutUint64(v[8:], w[(at+1)%uint8(FieldWords)])
	}
	return v
}

// Put sets the field from the first Size bytes of v, big endian; unknown fields are left alone.
//
//	alloc: 0
func (f *Fields) Put(id FieldID, v [16]byte) {
	p, w := placeOf(id), f.Words()
	at := p.word % uint8(FieldWords)
	x := binary.LittleEndian.Uint64(v[:8])
	if p.unit != wire {
		x = binary.BigEndian.Uint64(v[:8]) >> (p.unit & 63)
	}
	w[at] = w[at]&^p.mask | x<<(p.shift&63)&p.mask
	if p.two {
		w[(at+1)%uint8(FieldWords)] = binary.LittleEndian.Uint64(v[8:])
	}
}

// Cover sets all bits of field id in f, so that f as a mask covers the field; unknown
// fields are left alone.
//
//	alloc: 0
func (f *Fields) Cover(id FieldID) {
	p, w := placeOf(id), f.Words()
	at := p.word % uint8(FieldWords)
	w[at] |= p.mask
	if p.two {
		w[(at+1)%uint8(FieldWords)] = ^uint64(0)
	}
}

// Uncover clears all bits of field id in f; unknown fields are left alone.
//
//	alloc: 0
func (f *Fields) Uncover(id FieldID) {
	p, w := placeOf(id), f.Words()
	at := p.word % uint8(FieldWords)
	w[at] &^= p.mask
	if p.two {
		w[(at+1)%uint8(FieldWords)] = 0
	}
}
