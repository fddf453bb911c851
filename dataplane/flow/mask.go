package flow

// EqualMasked reports whether k under mask m is v. v has no bit outside m.
//
//	alloc: 0
func (k *Key) EqualMasked(v, m *Key) bool {
	w, x, y := k.Words(), v.Words(), m.Words()
	var diff uint64
	for i := range w {
		diff |= w[i]&y[i] ^ x[i]
	}
	return diff == 0
}

// Masked is k under mask m.
func (k *Key) Masked(m *Key) (r Key) {
	w, y, z := k.Words(), m.Words(), r.Words()
	for i := range w {
		z[i] = w[i] & y[i]
	}
	return r
}

// EqualMasked reports whether f under mask m is v. v has no bit outside m.
//
//	alloc: 0
func (f *Fields) EqualMasked(v, m *Fields) bool {
	w, x, y := f.Words(), v.Words(), m.Words()
	var diff uint64
	for i := range w {
		diff |= w[i]&y[i] ^ x[i]
	}
	return diff == 0
}

// Masked is f under mask m.
func (f *Fields) Masked(m *Fields) (r Fields) {
	w, y, z := f.Words(), m.Words(), r.Words()
	for i := range w {
		z[i] = w[i] & y[i]
	}
	return r
}

// Or adds the bits of m to f.
func (f *Fields) Or(m *Fields) {
	w, y := f.Words(), m.Words()
	for i := range w {
		w[i] |= y[i]
	}
}

// Holds reports whether the match holds for f.
func (m *Match) Holds(f *Fields) bool { return f.EqualMasked(&m.Value, &m.Mask) }
