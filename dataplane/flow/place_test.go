package flow_test

import (
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
)

// bytesOf is a field's storage inside f, nothing if there is no such field: the plain
// way to it.
func bytesOf(f *flow.Fields, id flow.FieldID) ([]byte, flow.FieldInfo) {
	i, _ := id.Info()
	return unsafe.Slice((*byte)(unsafe.Pointer(f)), unsafe.Sizeof(*f))[i.Offset:][:i.Size], i
}

// TestPlaces holds Get, Put, Cover and Uncover, which work on words, against the bytes of
// the fields, of fields that there are and of others.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := randomFields(t)
		id := flow.FieldID(rapid.IntRange(0, flow.NumFields+3).Draw(t, "id"))
		var v, got [16]byte
		copy(v[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "value"))
		b, i := bytesOf(&f, id)
		copy(got[:], b)
		if !i.Bytes {
			slices.Reverse(got[:i.Size])
		}
		if x := f.Get(id); x != got {
			t.Fatalf("%s of %v is %x, want %x", id, f, x, got)
		}
		change := func(name string, edit func(f *flow.Fields), want []byte) {
			plain, fast := f, f
			b, _ := bytesOf(&plain, id)
			copy(b, want)
			if edit(&fast); fast != plain {
				t.Fatalf("%s %s: %v, want %v", name, id, fast, plain)
			}
		}
		want := slices.Clone(v[:i.Size])
		if !i.Bytes {
			slices.Reverse(want)
		}
		change("put", func(f *flow.Fields) { f.Put(id, v) }, want)
		change("cover", func(f *flow.Fields) { f.Cover(id) }, slices.Repeat([]byte{0xff}, i.Size))
		change("uncover", func(f *flow.Fields) { f.Uncover(id) }, make([]byte, i.Size))
	})
}
