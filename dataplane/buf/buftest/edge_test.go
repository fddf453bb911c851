package buftest_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"baton/dataplane/buf"
	"baton/dataplane/buf/buftest"
)

// failures keeps what a test is failed with.
type failures struct {
	rapid.TB
	all []string
}

func (f *failures) Helper()                      {}
func (f *failures) Fatalf(form string, a ...any) { f.all = append(f.all, fmt.Sprintf(form, a...)) }

// TestEdge: a frame of any length lies there whole, with headroom and without tailroom, and
// the byte behind it cannot be touched.
func TestEdge(t *testing.T) {
	e := buftest.NewEdge(t)
	for _, n := range []int{0, 1, 54, 4095, 4096, 4097, 65535 - buf.Headroom} {
		frame := make([]byte, n)
		for i := range frame {
			frame[i] = byte(i)
		}
		b := e.Lay(frame)
		if string(b.Data()) != string(frame) || b.Len() != n || b.Headroom() != buf.Headroom || b.Tailroom() != 0 || b.NbSegs != 1 {
			t.Errorf("%d bytes: %+v", n, *b)
		}
		var got failures
		var read byte
		for _, at := range []int{-1, 0, 1} {
			buftest.Inside(&got, func() {
				// SAFETY: there is headroom before the frame; what is behind it has to fault.
				read += *(*byte)(unsafe.Add(b.Ptr(), n+at))
			}, e)
		}
		if len(got.all) != 2 || !strings.HasPrefix(got.all[0], "edge_test.go:") ||
			!strings.HasSuffix(got.all[1], fmt.Sprintf(" touches byte 1 behind a frame of %d bytes", n)) {
			t.Errorf("%d bytes: the test was failed with %q", n, got.all)
		}
	}
	if e.Lay(make([]byte, 65536-buf.Headroom)) != nil {
		t.Error("a frame that no buffer holds was laid")
	}
}

// TestInside: other panics go their way.
func TestInside(t *testing.T) {
	defer func() {
		if p := recover(); p != "other" {
			t.Errorf("recovered %v", p)
		}
	}()
	buftest.Inside(t, func() { panic("other") }, buftest.NewEdge(t))
}
