package child_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"baton/bench/child"
)

// Orders are answered in turn; the end of orders is no error, and half an order is one.
func TestServe(t *testing.T) {
	twice := func(n int) int { return 2 * n }
	var out strings.Builder
	if err := child.Serve(strings.NewReader("1\n20\n"), &out, twice); err != nil || out.String() != "2\n40\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := child.Serve(strings.NewReader("1\n{"), &out, twice); err == nil {
		t.Error("half an order passed")
	}
	if err := child.Serve(strings.NewReader("1"), full{}, twice); !errors.Is(err, errFull) {
		t.Errorf("a reply that nobody takes: %v", err)
	}
}

var errFull = errors.New("full")

// full is a writer that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// Who polls keeps its processor while the next order is waited for, also with one CPU.
func TestServe_processors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if err := child.Serve(strings.NewReader(""), io.Discard, func(struct{}) struct{} { return struct{}{} }); err != nil {
		t.Error(err)
	}
	if n := runtime.GOMAXPROCS(0); n < 3 {
		t.Errorf("%d processors, want one each for a loop, for orders, and for the runtime", n)
	}
}
